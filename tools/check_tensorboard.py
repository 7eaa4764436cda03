#!/usr/bin/env python3
"""Reads a folder that `logging.tensorboard` made with TensorBoard's own reader, beside the log of the same run.

    tools/check_tensorboard.py out/tb/NAME out/NAME.log.jsonl

Every step of the log must be there once, with the log's figures, and every picture must be a PNG of its size. Needs tensorboard
(pip install tensorboard); no test does.
"""
import json
import math
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TAGS = {"train/loss": "loss", "train/loss_mean": "loss_mean", "train/lr": "lr", "train/grad_norm": "grad_norm",
        "effect/effect": "effect", "effect/moved": "moved", "effect/kept": "kept", "effect/neighbours": "neighbours",
        "effect/unrelated": "unrelated"}


def check_scalars(events, lines):
    for tag, key in TAGS.items():
        wanted = {line["step"]: line[key] for line in lines if line.get(key) is not None}
        found = [(e.step, e.value) for e in events.Scalars(tag)] if tag in events.Tags()["scalars"] else []
        assert [step for step, _ in found] == sorted(wanted), (tag, [step for step, _ in found], sorted(wanted))
        for step, value in found:
            assert math.isclose(value, wanted[step], rel_tol=1e-5, abs_tol=1e-12), (tag, step, value, wanted[step])
        print(f"{tag}: {len(found)} values")


def check_images(events):
    for tag in events.Tags()["images"]:
        for e in events.Images(tag):
            png = e.encoded_image_string
            assert png[:8] == b"\x89PNG\r\n\x1a\n", tag
            assert struct.unpack(">II", png[16:24]) == (e.width, e.height), tag
        print(f"{tag}: steps {[e.step for e in events.Images(tag)]}")


def main(folder, log):
    events = EventAccumulator(folder, size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    with open(log, encoding="utf-8") as f:
        lines = [json.loads(line) for line in f]
    steps = [line["step"] for line in lines]
    assert steps == sorted(set(steps)), "steps of the log are doubled or out of order"
    check_scalars(events, lines)
    check_images(events)


if __name__ == "__main__":
    main(*sys.argv[1:])
