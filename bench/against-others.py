#!/usr/bin/env python3
"""leco, PyTorch (as it is, and compiled) and OpenVINO on this machine's CPU, by turns: what `leco bench` times.

    python3 -m venv venv && venv/bin/pip install -r bench/requirements-cpu.txt
    venv/bin/python bench/against-others.py [--preset sd15] [--precision bfloat16] [--threads N] [--rounds N]
                                            [--only leco,eager,compiled,openvino] [--out FILE.json]

One U-Net of full size with random weights, batch 2 forward, and batch 1 student forward and backward with a LoRA of rank 4
on all layers of the transformers (bench/torch_unet.py has both; OpenVINO only draws). In each round every program runs in a
process of its own, one after the other, on the same number of threads, and keeps the best of several runs; a ratio is of one
round. What is printed is the median of the rounds, with the least and the most of the ratios, and beside it the share of the
machine's own rate of matrix products, which leco measures in the same round.

PyTorch has it as fast as we know how: channels last, SDPA, a LoRA in the compute type, no gradient where none is asked for;
compiled by torch.compile's default mode, which takes minutes before the first run that are not counted. OpenVINO converts
the same U-Net. Nothing is downloaded. LECO names leco's program, if it isn't build/release/leco; LECO_CPU=avx2 (or avx512,
avx512_bf16) lowers leco, and ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA are set to match it for PyTorch.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from torch_unet import BATCH, Work, make_inputs, make_models, make_unet, predictor

ROOT = Path(__file__).resolve().parent.parent
LECO = os.environ.get("LECO", str(ROOT / "build/release/leco"))
PROGRAMS = ("leco", "eager", "compiled", "openvino")
KINDS = ("forward", "step")
LOWERED = {"baseline": ("default", "SSE41"), "avx2": ("avx2", "AVX2"), "avx512": ("avx512", "AVX512_CORE"),
           "avx512_bf16": ("avx512", "AVX512_CORE_BF16")}  # fmt: skip


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=("sd15", "sd21", "sdxl"), default="sd15")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--width", type=int, help="pixels (default: the model's own)")
    parser.add_argument("--height", type=int)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=4, help="of each in a round, after one that doesn't count")
    parser.add_argument("--only", default=",".join(PROGRAMS), help="programs, with commas between (default: all)")
    parser.add_argument("--out", metavar="FILE", help="all figures, as JSON")
    parser.add_argument("--worker", choices=PROGRAMS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.only = args.only.split(",")
    for name in args.only:
        if name not in PROGRAMS:
            parser.error("--only: %s is none of %s" % (name, ", ".join(PROGRAMS)))
    args.contiguous, args.lora_float32 = False, False
    return args


def best(run, runs):
    """Seconds of the fastest of `runs`, after one that makes everything ready."""
    run()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


# ---- what a worker does ----


def time_torch(args, mode):
    import torch

    torch.set_num_threads(args.threads)
    models = make_models(torch, args, "cpu")
    return {kind: best(Work(torch, args, "cpu", models, kind, mode).run, args.runs) for kind in KINDS}


def time_openvino(args):
    import openvino
    import torch

    class Model(torch.nn.Module):
        def __init__(self, unet):
            super().__init__()
            self.unet, self.predict = unet, predictor(unet)

        def forward(self, *inputs):
            return self.predict(*inputs)

    precision, args.precision = args.precision, "float32"  # converted from that, computed in the other
    args.contiguous = True
    inputs, _ = make_inputs(torch, args, "cpu", BATCH["forward"])
    with torch.no_grad():
        converted = openvino.convert_model(Model(make_unet(torch, args, "cpu")), example_input=tuple(inputs))
    hints = {"INFERENCE_PRECISION_HINT": {"bfloat16": "bf16", "float32": "f32"}[precision],
             "INFERENCE_NUM_THREADS": args.threads, "PERFORMANCE_HINT": "LATENCY"}  # fmt: skip
    request = openvino.Core().compile_model(converted, "CPU", hints).create_infer_request()
    values = [x.numpy() for x in inputs]
    return {"forward": best(lambda: request.infer(values), args.runs)}


def time_leco(args):
    words = [LECO, "bench", "--preset", args.preset, "--precision", args.precision, "--threads", str(args.threads)]
    for name in ("width", "height"):
        if getattr(args, name):
            words += ["--" + name, str(getattr(args, name))]
    said = json.loads(subprocess.run([*words, "--json", "-q"], check=True, capture_output=True, text=True).stdout)
    run = said["runs"][0]
    rate = max(run["matrix_gflops_before"], run["matrix_gflops_after"])
    return {"level": said["processor"], "matrix_rate": rate, "forward": run["forward"]["seconds"],
            "step": run["training_step"]["seconds"], "gflop": {"forward": run["forward"]["gflop"],
                                                          "step": run["training_step"]["gflop"]}}  # fmt: skip


def work(args):
    if args.worker == "leco":
        return time_leco(args)
    if args.worker == "openvino":
        return time_openvino(args)
    return time_torch(args, "eager" if args.worker == "eager" else "default")


# ---- rounds ----


def environment(args):
    env = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "HF_HUB_OFFLINE": "1"}
    if env.get("LECO_CPU") in LOWERED:
        env["ATEN_CPU_CAPABILITY"], env["ONEDNN_MAX_CPU_ISA"] = LOWERED[env["LECO_CPU"]]
    return env


def run_worker(args, name):
    words = [sys.executable, __file__, *sys.argv[1:], "--worker", name]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(args))
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["without a word"]
        telling = [line for line in lines if "Error" in line and not line.startswith(" ")]
        print("%s failed: %s" % (name, (telling or lines)[-1]), file=sys.stderr)
        return {}
    return json.loads(done.stdout.strip().splitlines()[-1])


def processor():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def versions():
    from importlib import metadata

    found = []
    for name in ("torch", "openvino"):
        try:
            found.append("%s %s" % (name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            pass
    return ", ".join(found)


def row(name, kind, rounds):
    of = [r[name][kind] for r in rounds if kind in r.get(name, {})]
    if not of:
        return None
    line = "| %s | %.2f s" % (name, statistics.median(of))
    ratios = [r[name][kind] / r["leco"][kind] for r in rounds if kind in r.get(name, {}) and r.get("leco")]
    if name == "leco":
        shares = [r["leco"]["gflop"][kind] / r["leco"][kind] / r["leco"]["matrix_rate"] for r in rounds if r.get("leco")]
        return line + " | %.0f%% of the matrix rate |" % (100 * statistics.median(shares))
    if not ratios:
        return line + " | |"
    return line + " | leco is %.2f times as fast (%.2f to %.2f) |" % (statistics.median(ratios), min(ratios), max(ratios))


def report(args, rounds):
    level = next((r["leco"]["level"] for r in rounds if r.get("leco")), "")
    print("%s (%s), %d threads; %s; %s, %s; %d rounds" % (processor(), level, args.threads, versions(), args.preset,
                                                          args.precision, len(rounds)))  # fmt: skip
    for kind in KINDS:
        print("\n| %s, batch %d | | |\n| --- | --- | --- |" % (kind, BATCH[kind]))
        for name in args.only:
            line = row(name, kind, rounds)
            if line:
                print(line)


def main():
    args = parse()
    if args.worker:
        print(json.dumps(work(args)))
        return
    rounds = []
    for number in range(args.rounds):
        rounds.append({name: run_worker(args, name) for name in args.only})
        print("round %d: %s" % (number + 1, json.dumps(rounds[-1])), file=sys.stderr)
    report(args, rounds)
    if args.out:
        Path(args.out).write_text(json.dumps({"processor": processor(), "versions": versions(), "rounds": rounds}))


main()
