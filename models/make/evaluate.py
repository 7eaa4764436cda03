"""Measures a model's folder as anyone would use it: diffusers' own pipeline, 25 DDIM steps, guidance 4, float32.

    python evaluate.py shapes

Writes measured-*.json and contact.png into the folder. The probe reads off the pictures what was drawn.
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


def spread(values, attribute, possible):
    """Entropy of what was drawn, as a share of the most that the world's values allow; what is read as another value is left out."""
    inside = [prober.LABELS[attribute].index(value) for value in possible]
    counts = np.bincount(values, minlength=len(prober.LABELS[attribute]))[inside].astype(float)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum() / math.log(len(possible)))


def save_sheet(pictures, path):
    pixels = ((pictures[:SHEET] + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    Image.fromarray(world.sheet(pixels)).save(path, optimize=True)


def measure_full(pipeline, probe, name, count, folder):
    """Pictures of full captions; the first of them become the contact sheet (its captions go to the log)."""
    attributes = wanted(name, count, 0)
    captions = [world.describe(**one) for one in attributes]
    pictures = draw(pipeline, captions, 1)
    save_sheet(pictures, folder / "contact.png")
    log.info("contact sheet:\n%s", "\n".join(captions[:SHEET]))
    return follow(prober.read(probe, pictures), attributes)


def measure_partial(pipeline, probe, name, count):
    """Pictures of captions that lack one attribute: how evenly its values occur."""
    figures = {}
    for index, attribute in enumerate(world.ATTRIBUTES):
        captions = [
            world.describe(**{key: value for key, value in one.items() if key != attribute})
            for one in wanted(name, count, 1 + index)
        ]
        values = prober.read(probe, draw(pipeline, captions, 2 + index))[attribute].numpy()
        figures[attribute] = spread(values, attribute, world.WORLDS[name].values(attribute))
        log.info("%s left out: %.3f", attribute, figures[attribute])
    return figures


def measure_autoencoder(pipeline, name):
    """Reconstruction of held-out renders."""
    pictures = common.renders(name, "held-out")[0]
    mean, of_mean = autoencoder.psnr(pipeline.vae, pictures)
    return {"dB, mean over pictures": mean, "dB, of the mean error": of_mean, "pictures": len(pictures)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=tuple(world.WORLDS))
    parser.add_argument("--part", choices=("full", "partial", "autoencoder"), help="only this; by default all")
    parser.add_argument("--full", type=int, default=512, help="pictures of full captions")
    parser.add_argument("--partial", type=int, default=192, help="pictures per attribute left out")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)

    folder = common.MODELS / options.name
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.vae.to(memory_format=torch.channels_last)
    probe = prober.load()
    parts = {
        "full": lambda: {"pictures": options.full, **measure_full(pipeline, probe, options.name, options.full, folder)},
        "partial": lambda: {"pictures": options.partial, **measure_partial(pipeline, probe, options.name, options.partial)},
        "autoencoder": lambda: measure_autoencoder(pipeline, options.name),
    }
    for part in (options.part,) if options.part else parts:
        started = time.monotonic()
        figures = parts[part]()
        figures["minutes"] = round((time.monotonic() - started) / 60, 1)
        log.info("%s: %s", part, figures)
        (folder / f"measured-{part}.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
