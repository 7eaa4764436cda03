"""Measures a model's folder as anyone would use it: diffusers' own pipeline, 25 DDIM steps, guidance 4, float32.

    python evaluate.py shapes            # everything; writes measured.json, contact.png and captions.txt into the folder
    python evaluate.py shapes --quick    # a glance: fewer pictures, nothing written but a sheet in the scratch folder

The probe reads what was asked for off the pictures.
"""

import argparse
import json
import logging
import math
import time

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

import common
import probe as prober
import vae as autoencoder
import world

SEED = 51
STEPS = 25
GUIDANCE = 4.0
BATCH = 32
FULL = 512  # pictures of full captions
PARTIAL = 192  # pictures of captions with one attribute left out, per attribute
DONOR_WORDS = ("hexagon", "arrow", "gold", "checkered")
SHEET = 64

log = logging.getLogger("evaluate")


def wanted(name, count, seed):
    """Random attributes of a model's world."""
    rng = np.random.default_rng([SEED, seed])
    return [world.sample(world.WORLDS[name], rng) for _ in range(count)]


def draw(pipeline, captions, seed):
    """float32 [N, 3, 64, 64] in [-1, 1]; the noise of picture i depends on the seed and i alone."""
    pictures = []
    for start in range(0, len(captions), BATCH):
        part = captions[start : start + BATCH]
        generators = [torch.Generator().manual_seed(seed * 100000 + start + i) for i in range(len(part))]
        drawn = pipeline(
            part, num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=generators, height=64, width=64, output_type="pt"
        )
        pictures.append(drawn.images * 2 - 1)
    return torch.cat(pictures)


def follow(read, attributes):
    """Share of pictures that are as asked, per attribute, all at once, and per word of the donor's own."""
    right = {
        name: np.array([prober.LABELS[name][value] == one[name] for value, one in zip(read[name], attributes)])
        for name in world.ATTRIBUTES
    }
    figures = {name: float(hits.mean()) for name, hits in right.items()}
    figures["all five"] = float(np.logical_and.reduce(list(right.values())).mean())
    for word in DONOR_WORDS:
        for name in world.ATTRIBUTES:
            asked = np.array([one[name] == word for one in attributes])
            if asked.any():
                figures[f"word {word}"] = float(right[name][asked].mean())
    return figures


def spread(values, labels, possible):
    """Entropy of what was drawn, as a share of the most that the world's values allow."""
    counts = np.bincount(values, minlength=len(labels)).astype(float)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum() / math.log(possible))


def save_sheet(pictures, path):
    pixels = ((pictures[:SHEET] + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    Image.fromarray(world.sheet(pixels)).save(path, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=tuple(world.WORLDS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    name = options.name
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)

    folder = common.MODELS / name
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.vae.to(memory_format=torch.channels_last)
    probe = prober.load()
    started = time.monotonic()

    attributes = wanted(name, SHEET if options.quick else FULL, 0)
    captions = [world.describe(**one) for one in attributes]
    pictures = draw(pipeline, captions, 1)
    figures = {"full captions": follow(prober.read(probe, pictures), attributes)}
    log.info("%s", figures)
    if options.quick:
        save_sheet(pictures, common.SCRATCH / f"quick-{name}.png")
        return
    save_sheet(pictures, folder / "contact.png")
    (folder / "captions.txt").write_text("".join(f"{caption}\n" for caption in captions[:SHEET]))

    figures["spread when left out"] = {}
    for index, attribute in enumerate(world.ATTRIBUTES):
        partial = wanted(name, PARTIAL, 1 + index)
        captions = [world.describe(**{key: value for key, value in one.items() if key != attribute}) for one in partial]
        read = prober.read(probe, draw(pipeline, captions, 2 + index))
        possible = len(world.WORLDS[name].values(attribute))
        figures["spread when left out"][attribute] = spread(read[attribute].numpy(), prober.LABELS[attribute], possible)
        log.info("%s left out: %.3f", attribute, figures["spread when left out"][attribute])

    held_out = common.renders(name, "held-out")[0]
    figures["autoencoder PSNR, dB (mean over pictures; of the mean error)"] = autoencoder.psnr(pipeline.vae, held_out)
    figures["minutes"] = (time.monotonic() - started) / 60
    figures["parameters"] = {
        part: sum(p.numel() for p in getattr(pipeline, part).parameters()) for part in ("unet", "text_encoder", "vae")
    }
    (folder / "measured.json").write_text(json.dumps(figures, indent=1) + "\n")
    log.info("%s", json.dumps(figures))


if __name__ == "__main__":
    main()
