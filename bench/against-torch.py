#!/usr/bin/env python3
"""How fast PyTorch and diffusers do what `leco bench` times, on one NVIDIA GPU.

    python3 -m venv venv && venv/bin/pip install -r bench/requirements.txt
    venv/bin/python bench/against-torch.py --preset sd15 --out torch.json
    leco bench --preset sd15 --precision bfloat16 --device cuda

Both time one U-Net of full size with random weights:

    forward     batch 2, without an adapter
    step        batch 1, with a LoRA of rank 4 on every linear layer and 1x1 convolution of the transformers (what leco
                trains by default): prediction, mean squared error, gradients of the LoRA. No optimizer
    trajectory  batch 2, with the LoRA, no gradients: one step with guidance of the denoising run
    teachers    batch 3, without an adapter: three terms at one latent

in several modes of PyTorch:

    eager            as it is
    default          torch.compile
    reduce-overhead  torch.compile(mode="reduce-overhead"): with CUDA graphs
    graph            eager, but recorded once in a CUDA graph and replayed
    max-autotune     torch.compile(mode="max-autotune-no-cudagraphs")

PyTorch has it as fast as we know how: bfloat16 weights and activations, channels last, cudnn.benchmark, SDPA, a LoRA
in bfloat16 too (leco's is float32), no gradient where none is asked for, no checkpointing, and no .grad to add to. The
U-Nets with and without a LoRA share their weights. Nothing is downloaded.

What no longer fits into --seconds is skipped, and the report says so. A run's time is that between two CUDA events
with the next run queued behind it; `wall` is one run and a synchronisation on the host's clock, as leco times itself.
`peak` is torch.cuda.max_memory_allocated from the second run on: the first one tries algorithms, or compiles.

Operations are those of torch's own counter. leco's count of a forward is the same to the last digit; of a step it is
larger by what attention computes again in its backward pass, which torch's counter leaves out (63 GFLOP in SD1.5).
"""

import argparse
import contextlib
import gc
import json
import math
import os
import platform
import signal
import statistics
import sys
import threading
import time

for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ[name] = "1"

from torch_unet import BATCH, COMPILE, MAIN, PRESETS, RANK, REST, Work, count_flops, loras, make_models

MODES = ("eager", "default", "reduce-overhead", "graph", "max-autotune")
# The most telling first.
STAGES = (
    ("eager", MAIN + REST),
    ("default", MAIN),
    ("reduce-overhead", MAIN),
    ("graph", MAIN + REST),
    ("reduce-overhead", REST),
    ("max-autotune", MAIN),
    ("default", REST),
    ("max-autotune", REST),
)
# A guess, before anything like it was compiled: seconds on 16 cores for the U-Net of SD1.5.
COMPILE_GUESS = {"default": 35, "reduce-overhead": 35, "max-autotune": 90}


class OutOfTime(BaseException):
    """The alarm; no Exception, so that no compiler takes it for one of its own."""


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", "--model", choices=PRESETS, default="sd15")
    parser.add_argument("--tiny", action="store_true", help="a look on the CPU: --preset tiny --device cpu, a few runs")
    parser.add_argument("--device", default="cuda")
    precisions = ("bfloat16", "float16", "float32")
    parser.add_argument("--precision", choices=precisions, help="(default: bfloat16; tiny: float32)")
    parser.add_argument("--width", type=int, help="pixels (default: the model's own)")
    parser.add_argument("--height", type=int)
    parser.add_argument("--modes", help="some of %s, with commas between (default: all)" % ", ".join(MODES))
    parser.add_argument("--seconds", type=float, default=240, help="to be done in (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=100, help="of each, at most (default: %(default)s)")
    parser.add_argument("--each", type=float, default=2, help="seconds of runs of each, at most (default: %(default)s)")
    parser.add_argument("--contiguous", action="store_true", help="NCHW, not channels last")
    parser.add_argument("--lora-float32", action="store_true", help="adapters in float32, as leco has them")
    parser.add_argument("--cudnn-attention", action="store_true", help="cuDNN's, not the one that PyTorch would choose")
    parser.add_argument("--count", action="store_true", help="count operations by torch's counter, and do nothing else")
    parser.add_argument("--out", metavar="FILE", help="everything, as JSON")
    args = parser.parse_args()
    if args.tiny:
        args.preset, args.device, args.runs, args.each = "tiny", "cpu", min(args.runs, 5), 1
    args.precision = args.precision or ("float32" if args.preset == "tiny" else "bfloat16")
    args.modes = tuple(args.modes.split(",")) if args.modes else MODES
    for mode in args.modes:
        if mode not in MODES:
            parser.error("--modes: %s is none of %s" % (mode, ", ".join(MODES)))
    return args


# ---- timing ----


class Clock:
    """CUDA's events; on a CPU, the host's clock under the same names."""

    def __init__(self, torch, device):
        self.torch, self.cuda = torch, device == "cuda"

    def sync(self):
        if self.cuda:
            self.torch.cuda.synchronize()

    def mark(self):
        if not self.cuda:
            return time.perf_counter()
        event = self.torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, a, b):
        """Milliseconds."""
        return a.elapsed_time(b) if self.cuda else 1e3 * (b - a)


def time_queued(clock, run, most, seconds):
    """Milliseconds of each of at most `most` runs, one queued behind the other."""
    clock.sync()
    begin, marks = time.perf_counter(), [clock.mark()]
    while len(marks) <= most and (len(marks) <= 5 or time.perf_counter() - begin < seconds):
        run()
        marks.append(clock.mark())
    clock.sync()
    return [clock.between(a, b) for a, b in zip(marks, marks[1:])]


def time_wall(clock, run, most, seconds):
    """Milliseconds of each run and the wait for it."""
    begin, times = time.perf_counter(), []
    while len(times) < most and (len(times) < 3 or time.perf_counter() - begin < seconds):
        clock.sync()
        start = time.perf_counter()
        run()
        clock.sync()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def memory(torch, clock, what):
    return getattr(torch.cuda, what)() if clock.cuda else 0


def measure(torch, args, clock, models, kind, mode):
    result = {"batch": BATCH[kind]}
    work = Work(torch, args, args.device, models, kind, mode)
    clock.sync()
    result["allocated_before"] = memory(torch, clock, "memory_allocated")
    if clock.cuda:
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    work.run()
    clock.sync()
    result["first_seconds"] = time.perf_counter() - start
    result["peak_first"] = memory(torch, clock, "max_memory_allocated")
    if clock.cuda:
        torch.cuda.reset_peak_memory_stats()
    if mode == "graph":
        work.record()
    for _ in range(3):
        work.run()
    clock.sync()
    times = time_queued(clock, work.run, args.runs, args.each)
    wall = time_wall(clock, work.run, args.runs, args.each / 4)
    result.update(runs=len(times), min_ms=min(times), median_ms=statistics.median(times))
    result.update(wall_min_ms=min(wall), wall_median_ms=statistics.median(wall))
    result["peak"] = memory(torch, clock, "max_memory_allocated")
    result["reserved"] = memory(torch, clock, "max_memory_reserved")
    return result, [tensor.detach().float().clone() for tensor in work.run()]


def compare(kind, tensors, known):
    """How far results are from those of the first mode that was run, relative to their size."""
    out = {}
    if kind == "step":
        out["loss"] = float(tensors[0])
        out["gradient_norm"] = math.sqrt(sum(float((g * g).sum()) for g in tensors[1:]))
        out["zero_gradients"] = sum(1 for g in tensors[1:] if float(g.abs().max()) == 0)
        tensors = tensors[1:]
    out["finite"] = all(bool(tensor.isfinite().all()) for tensor in tensors)
    if kind in known:
        difference = math.sqrt(sum(float(((a - b) ** 2).sum()) for a, b in zip(tensors, known[kind])))
        size = math.sqrt(sum(float((b**2).sum()) for b in known[kind]))
        out["difference"] = difference / size
    else:
        known[kind] = tensors
    return out


def product_rate(torch, clock, dtype):
    """TFLOP/s of one large product in the model's precision: the yardstick."""
    n = 8192 if clock.cuda else 512
    a, b = (torch.randn(n, n, dtype=dtype, device="cuda" if clock.cuda else "cpu") for _ in range(2))
    for _ in range(3):
        a @ b
    return 2 * n**3 / min(time_queued(clock, lambda: a @ b, 20, 1)) / 1e9


# ---- all of it ----


class Bench:
    def __init__(self, args):
        self.args, self.begin = args, time.perf_counter()
        self.report = {"preset": args.preset, "precision": args.precision, "rank": RANK, "seconds": args.seconds}
        self.results = self.report["results"] = {}
        self.skipped = self.report["skipped"] = []
        self.known = {}
        self.done = False

    def left(self):
        return self.args.seconds - (time.perf_counter() - self.begin)

    def say(self, text):
        print("[%6.1f s] %s" % (time.perf_counter() - self.begin, text), file=sys.stderr, flush=True)

    def prepare(self):
        import diffusers
        import torch

        args = self.args
        self.torch, self.clock = torch, Clock(torch, args.device)
        if self.clock.cuda and not torch.cuda.is_available():
            sys.exit("no GPU: torch.cuda.is_available() is false (--tiny is for the CPU)")
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
        torch._dynamo.config.recompile_limit = 64
        with contextlib.suppress(ImportError):
            from torch._inductor import select_algorithm

            select_algorithm.PRINT_AUTOTUNE = False  # pages of it
        if args.cudnn_attention:
            torch.backends.cuda.enable_flash_sdp(False)
            torch.backends.cuda.enable_mem_efficient_sdp(False)
            torch.backends.cuda.enable_cudnn_sdp(True)
        gpu = self.clock.cuda and torch.cuda.get_device_properties(0)
        self.report.update(
            gpu=gpu.name if gpu else "none (%s)" % platform.machine(), gpu_bytes=gpu.total_memory if gpu else 0,
            torch=torch.__version__, cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version() if gpu else None,
            diffusers=diffusers.__version__, python=platform.python_version(),
            memory_format="contiguous" if args.contiguous else "channels_last",
            attention="cuDNN's" if args.cudnn_attention else "PyTorch's choice",
            lora_precision="float32" if args.lora_float32 else args.precision,
        )  # fmt: skip
        self.say("%s, torch %s, diffusers %s" % (self.report["gpu"], torch.__version__, diffusers.__version__))
        self.models = make_models(torch, args, args.device)
        self.report["adapted_layers"] = self.models[2]
        self.report["adapter_values"] = sum(p.numel() for p in loras(torch, self.models[1]))
        self.report["weights"] = sum(p.numel() * p.element_size() for p in self.models[0].parameters())
        self.report["product_tflops"] = product_rate(torch, self.clock, getattr(torch, args.precision))
        rate = self.report["product_tflops"]
        self.say("a LoRA on %d layers; one large product %.0f TFLOP/s" % (self.models[2], rate))
        self.flops()

    def flops(self):
        try:
            counts, _ = count_flops(self.torch, self.args)
            self.report["gflop"] = {kind: count["gflop"] for kind, count in counts.items()}
        except Exception as error:  # a count is nice to have
            self.report["gflop"] = {}
            self.say("operations could not be counted: %s" % error)

    def guess(self, mode, kind):
        """Seconds that it will take, at most."""
        run = self.args.each * 1.5 + 2
        if mode not in COMPILE or self.args.preset == "tiny":
            return run
        seen = [of[kind]["first_seconds"] for m, of in self.results.items() if m in COMPILE and kind in of]
        least = COMPILE_GUESS[mode] if mode == "max-autotune" else 0
        return run + max(least, max(seen) if seen else COMPILE_GUESS[mode] * (1.5 if kind == "step" else 1))

    def skip(self, mode, kind, why):
        self.skipped.append({"mode": mode, "work": kind, "why": why})
        self.say("%s, %s: skipped: %s" % (mode, kind, why))

    def one(self, mode, kind):
        if mode == "graph" and not self.clock.cuda:
            return self.skip(mode, kind, "a CPU has no CUDA graphs")
        if self.left() < self.guess(mode, kind):
            return self.skip(mode, kind, "%.0f s left, and it may take %.0f" % (self.left(), self.guess(mode, kind)))
        try:
            result, tensors = measure(self.torch, self.args, self.clock, self.models, kind, mode)
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            return self.skip(mode, kind, "%s: %s" % (type(error).__name__, lines[0][:300]))
        result.update(compare(kind, tensors, self.known))
        self.results.setdefault(mode, {})[kind] = result
        self.say("%s, %s: %.2f ms (median %.2f), first run %.1f s" % (
            mode, kind, result["min_ms"], result["median_ms"], result["first_seconds"]))  # fmt: skip
        self.save()

    def stage(self, mode, kinds):
        for kind in kinds:
            self.one(mode, kind)
        self.torch._dynamo.reset()
        gc.collect()
        if self.clock.cuda:
            with contextlib.suppress(Exception):
                self.torch.cuda.empty_cache()

    def run(self):
        plan = [(mode, kinds) for mode, kinds in STAGES if mode in self.args.modes]
        try:
            self.prepare()  # with no alarm yet: imports don't bear one
            signal.setitimer(signal.ITIMER_REAL, max(self.left(), 0.01), 5)  # again and again: a callback may lose one
            for mode, kinds in plan:
                self.stage(mode, kinds)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except OutOfTime:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.say("out of time")
            for mode, kinds in plan:
                for kind in kinds:
                    if kind not in self.results.get(mode, {}) and not self.was_skipped(mode, kind):
                        self.skip(mode, kind, "no time left")

    def was_skipped(self, mode, kind):
        return any(s["mode"] == mode and s["work"] == kind for s in self.skipped)

    def save(self):
        if self.args.out:
            with open(self.args.out + ".part", "w") as file:
                json.dump(self.report, file, indent=1)
            os.replace(self.args.out + ".part", self.args.out)

    def finish(self):
        """The report; once, whoever comes first."""
        if self.done:
            return
        self.done = True
        self.report["estimate"] = estimates(self.results)
        self.report["took_seconds"] = time.perf_counter() - self.begin
        self.save()
        print_report(self.report)
        sys.stdout.flush()


# ---- the report ----

UPDATES, STEPS, KEPT = 500, 20, 4


def estimate(of):
    """500 updates: 4 latents of each run of 20 denoising steps, three terms, one student. Milliseconds of one update.

    leco ends a run at its last kept latent, the 15.8th of 20 steps on average; `full` counts all 20."""
    if "forward" not in of or "step" not in of:
        return None
    forward, step = of["forward"]["median_ms"], of["step"]["median_ms"]
    guessed = [kind for kind in REST if kind not in of]
    trajectory = of["trajectory"]["median_ms"] if "trajectory" in of else forward
    teachers = of["teachers"]["median_ms"] if "teachers" in of else 1.5 * forward
    drawn = KEPT * (STEPS + 1) / (KEPT + 1) - 1  # of the largest of 4 of 0 .. 19
    full = STEPS / KEPT * trajectory + teachers + step
    stopping = drawn / KEPT * trajectory + teachers + step
    return {
        "update_ms": full, "seconds_of_500": full * UPDATES / 1e3,
        "update_ms_stopping_early": stopping, "seconds_of_500_stopping_early": stopping * UPDATES / 1e3,
        "guessed": guessed,
    }  # fmt: skip


def estimates(results):
    """Of each mode, and of the fastest for each kind of work."""
    best = {}
    for of in results.values():
        for kind, r in of.items():
            if kind not in best or r["median_ms"] < best[kind]["median_ms"]:
                best[kind] = r
    return {mode: e for mode, of in [*results.items(), ("best of all", best)] if (e := estimate(of))}


def print_head(report):
    print()
    print("%s, torch %s, CUDA %s, cuDNN %s, diffusers %s" % tuple(
        report.get(key) for key in ("gpu", "torch", "cuda", "cudnn", "diffusers")))  # fmt: skip
    print("%s in %s, %s, a LoRA of rank %d in %s on %s layers; one large product: %.0f TFLOP/s" % (
        report["preset"], report["precision"], report.get("memory_format"), RANK, report.get("lora_precision"),
        report.get("adapted_layers"), report.get("product_tflops") or 0))  # fmt: skip
    print("weights %.0f MiB, attention: %s, %.0f s in all" % (
        report.get("weights", 0) / 2**20, report.get("attention"), report["took_seconds"]))  # fmt: skip
    print()


COLUMNS = "mode,work,batch,runs,min ms,median ms,wall ms,TFLOP/s,peak MiB,first s,differs".split(",")


def cells(mode, kind, r, gflop):
    yield from (mode, kind, r["batch"], r["runs"])
    for key in ("min_ms", "median_ms", "wall_min_ms"):
        yield "%.2f" % r[key]
    yield "%.1f" % (gflop / r["min_ms"]) if gflop else ""
    yield from ("%.0f" % (r["peak"] / 2**20), "%.1f" % r["first_seconds"])
    yield "%.1e" % r["difference"] if "difference" in r else ""


def print_times(report):
    row = "%-16s %-11s %5s %5s %10s %10s %10s %9s %10s %9s %10s"
    print(row % tuple(COLUMNS))
    for mode, of in report["results"].items():
        for kind in (k for k in MAIN + REST if k in of):
            print(row % tuple(cells(mode, kind, of[kind], report.get("gflop", {}).get(kind))))
    print()


def print_report(report):
    print_head(report)
    print_times(report)
    for kind, gflop in report.get("gflop", {}).items():
        print("%-11s %8.1f GFLOP by torch's counter" % (kind, gflop))
    print("\n%d updates, each %g CFG forwards + three terms + one step" % (UPDATES, STEPS / KEPT))
    print("(in brackets: where a denoising run ends at the last of its %d latents, as leco's do)" % KEPT)
    for mode, e in report.get("estimate", {}).items():
        note = "  ~ %s not timed: from `forward`" % " and ".join(e["guessed"]) if e["guessed"] else ""
        print("%-16s %8.1f s (%.1f s)%s" % (mode, e["seconds_of_500"], e["seconds_of_500_stopping_early"], note))
    if report["skipped"]:
        print("\nSkipped:")
        for s in report["skipped"]:
            print("  %s, %s: %s" % (s["mode"], s["work"], s["why"]))


def limit(precision, kind):
    """Gradients of random U-Nets are ill-conditioned: in bfloat16 they differ by what is rounded where."""
    return 1e-4 if precision == "float32" else 0.5 if kind == "step" else 0.1


def wrong(report):
    """What can't be right."""
    for mode, of in report["results"].items():
        for kind, r in of.items():
            if not r["finite"]:
                yield "%s, %s: not finite" % (mode, kind)
            if r.get("zero_gradients"):
                yield "%s: %d gradients are zero" % (mode, r["zero_gradients"])
            if r.get("difference", 0) > limit(report["precision"], kind):
                yield "%s, %s: %.1e away from the first mode" % (mode, kind, r["difference"])
    if not report["results"]:
        yield "nothing was timed"


def main():
    args = parse()
    if args.count:
        import torch

        counts, layers = count_flops(torch, args)
        print(json.dumps({"preset": args.preset, "adapted_layers": layers, "work": counts}, indent=1))
        return 0
    bench = Bench(args)

    def alarm(number, frame):
        raise OutOfTime

    def last_resort():  # a compiler that doesn't hear the alarm
        bench.say("stuck: ending here")
        bench.finish()
        os._exit(1)

    signal.signal(signal.SIGALRM, alarm)
    watchdog = threading.Timer(args.seconds + 30, last_resort)
    watchdog.daemon = True
    watchdog.start()
    bench.run()
    bench.finish()
    watchdog.cancel()
    bad = list(wrong(bench.report))
    for line in bad:
        print("WRONG: " + line)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if bad else 0)  # without waiting for what compilers left running


if __name__ == "__main__":
    sys.exit(main())
