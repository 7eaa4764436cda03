#!/usr/bin/env python3
"""p1atdev's own trainer and leco on one machine, by turns: erasing red from models/shapes on the CPU, in float32.

    bench/against-p1atdev.py FOLDER update [--turns N] [--updates N] [--threads N]
    bench/against-p1atdev.py FOLDER goal [--seeds "0 1 2"] [--threads N]

FOLDER is a checkout of github.com/p1atdev/LECO, whose modules are run as they are (tools/export_p1atdev.py says how) under
the PyTorch and diffusers that are here. "update": seconds of one update with the same mathematics, one sample of each
trajectory of 50 steps and p1atdev's timesteps, starting not counted. "goal": 500 updates of p1atdev's trainer at lr 1e-3,
which it wants for "red", beside a leco config of two lines and leco erase, everything counted: seconds from the command to
the file; of 256 captions that ask for red, how many are red; of 512 that don't, how many are as asked.

p1atdev's modules want pydantic before 2, lion-pytorch, prodigyopt and dadaptation besides. LECO and LECO_PROBE name leco's
programs, if they aren't in build/release.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import torch

from experiments import ASKING, LECO, MODEL, ROOT, call, probe, red, set_options, two_lines

sys.path.insert(0, str(ROOT / "tools"))
import export_p1atdev as p1atdev  # noqa: E402

SAME = """pretrained_model: {name_or_path: %s}
network: {rank: 4, alpha: 1.0}
train: {precision: float32, iterations: %d, lr: 1e-3, max_denoising_steps: 50, timestep_compat: p1atdev, lr_scheduler: constant,
        samples_per_trajectory: 1, timestep_jitter: false}
save: {path: %s, name: same, per_steps: 0, state: false}
logging: {log: true, effect: false}
prompts: [{target: red, neutral: "", guidance_scale: 1.0}]
"""


def their_training(theirs, updates, seed):
    case = p1atdev.complete({"prompts": p1atdev.ONE, "seed": seed, "iterations": updates, "steps": 50})
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return p1atdev.train(theirs, case)


def their_update(theirs, updates, seed):
    return their_training(theirs, updates, seed)[1] / updates


def our_update(folder, updates, seed):
    """By the log's clock, from the first update to the last."""
    config = folder / "same.yaml"
    config.write_text(SAME % (MODEL, updates + 1, folder))
    call([LECO, "train", str(config), "-q", *set_options({"train.seed": seed})])
    lines = [json.loads(line) for line in (folder / "same.log.jsonl").read_text().splitlines()]
    return (lines[-1]["seconds"] - lines[0]["seconds"]) / updates


def update(theirs, folder, turns, updates):
    both = []
    for turn in range(turns):
        both.append((their_update(theirs, updates, turn), our_update(folder, updates, turn)))
        print(f"turn {turn}: p1atdev {1000 * both[-1][0]:.0f} ms, leco {1000 * both[-1][1]:.0f} ms an update", flush=True)
    ratios = sorted(a / b for a, b in both)
    print(f"ratio {ratios[len(ratios) // 2]:.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f})")


def tell(name, seed, seconds, lora):
    left = red(probe(MODEL, lora, 1, 256, 1000 + 10000 * seed, *ASKING))
    kept = probe(MODEL, lora, 1, 512, 5000 + 10000 * seed, "--forbid", "color=red")["all"]
    print(f"| {name} | {seed} | {seconds:.1f} s | {100 * left:.1f}% | {100 * kept:.1f}% |", flush=True)


def goal(theirs, folder, seeds):
    print("| | seed | from the command to the file | red left | others as asked |\n| --- | --- | --- | --- | --- |")
    for seed in seeds:
        begin = time.monotonic()
        _, _, network = their_training(theirs, 500, seed)
        lora = folder / "theirs.safetensors"
        network.save_weights(str(lora), dtype=torch.float32)
        tell("p1atdev's trainer, 500 updates", seed, time.monotonic() - begin, lora)
        config = folder / "two.yaml"
        config.write_text(two_lines())
        begin = time.monotonic()
        call([LECO, "train", str(config), "-q", *set_options({"train.seed": seed, "save.path": folder, "save.name": "two"})])
        tell("leco train, two lines", seed, time.monotonic() - begin, folder / "two.safetensors")
        begin = time.monotonic()
        call([LECO, "erase", "-m", MODEL, "red", "-q", "-o", str(folder / "erase.safetensors")])
        tell("leco erase", seed, time.monotonic() - begin, folder / "erase.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("what", choices=("update", "goal"))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--updates", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", default="0 1 2")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    theirs = p1atdev.load(arguments.folder)
    print(f"torch {torch.__version__}, {platform.machine()}, {arguments.threads} threads")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.what == "update":
            update(theirs, Path(folder), arguments.turns, arguments.updates)
        else:
            goal(theirs, Path(folder), [int(seed) for seed in arguments.seeds.split()])


main()
