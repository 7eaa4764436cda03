"""What the training scripts share: the scratch folder, cached renders, a learning rate driven by the clock, and averaged weights."""

import copy
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import torch

import world

MODELS = Path(__file__).resolve().parent.parent
SCRATCH = Path(os.environ.get("LECO_MODELS_SCRATCH", MODELS / "make" / "scratch"))

SEEDS = {"train": 1, "held-out": 2, "recolored": 3}  # of the renders
COUNTS = {"train": 48000, "held-out": 2000, "recolored": 48000}
COLOR_JITTER = {"recolored": 20}  # nearly as far as colours may move before orange meets gold; elsewhere the world's own


def renders(name, split):
    """Pictures uint8 [N, 64, 64, 3] and attributes of a world; drawn once, then read from the scratch folder."""
    pictures, attributes = (SCRATCH / f"{name}-{split}{end}" for end in (".npy", ".json"))
    if not attributes.exists():
        drawn, labels = world.render(world.WORLDS[name], SEEDS[split], COUNTS[split], COLOR_JITTER.get(split, world.COLOR_JITTER))
        SCRATCH.mkdir(parents=True, exist_ok=True)
        np.save(pictures, drawn)
        attributes.write_text(json.dumps(labels))
    return np.load(pictures), json.loads(attributes.read_text())


def to_tensor(pictures):
    """uint8 [N, 64, 64, 3] -> float32 [N, 3, 64, 64] in [-1, 1], channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


class Clock:
    """A time budget, and the learning rate that follows it: a linear warm-up in steps, then a cosine to zero in seconds.

    What an hour buys depends on the machine and on who else uses it; a schedule in seconds always ends properly. The
    seconds already spent survive an interruption (they are part of the checkpoint).
    """

    WARM_UP = 200  # steps

    def __init__(self, minutes, spent=0.0):
        self.budget = minutes * 60
        self.start = time.monotonic() - spent

    def spent(self):
        return time.monotonic() - self.start

    def fraction(self):
        return min(1.0, self.spent() / self.budget)

    def rate(self, step):
        """Between 0 and 1, to be multiplied with the highest learning rate."""
        return min(1.0, (step + 1) / self.WARM_UP) * 0.5 * (1 + math.cos(math.pi * self.fraction()))


class Average:
    """An exponential moving average of a module's parameters, with a shorter memory at the start."""

    def __init__(self, module, decay):
        self.module = copy.deepcopy(module).requires_grad_(False).eval()
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, module):
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(self.module.parameters()), list(module.parameters()), 1 - decay)


def save_checkpoint(path, **state):
    """Write-then-rename, so that a killed run leaves a whole file."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.rename(path)
