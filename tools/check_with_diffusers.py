#!/usr/bin/env python3
"""Does diffusers draw the same picture with our LoRA as `leco generate`? (A check by hand: needs the exporter's venv.)

    leco erase -m models/shapes red -o no-red.safetensors        # or leco train ...
    leco generate -m models/shapes -p "a red star" --lora no-red.safetensors --seed 7 -o leco.png
    tools/check_with_diffusers.py -m models/shapes -p "a red star" --lora no-red.safetensors --seed 7 leco.png

--embedding, --scheduler, --spacing and --karras are those of `leco generate`.
The noise comes from torch's CPU generator with that seed, or from the tensor `latents` [1,4,h,w] of a safetensors file.
Prints the mean and the largest absolute difference in 0..255; exit status 1 if the mean is above --limit.
"""

import argparse
import os
import sys

import numpy as np
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from fixtures_samplers import SAMPLERS, SPACINGS, WHOLE


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", help="what leco drew, a PNG")
    parser.add_argument("-m", "--model", required=True, help="a diffusers folder")
    parser.add_argument("-p", "--prompt", required=True)
    parser.add_argument("-n", "--negative", default="")
    parser.add_argument("--lora", action="append", default=[], metavar="FILE[:WEIGHT]")
    parser.add_argument("--embedding", action="append", default=[], metavar="FILE")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance-scale", type=float, default=4.0)
    parser.add_argument("--scheduler", choices=SAMPLERS, default="ddim")
    parser.add_argument("--spacing", choices=SPACINGS, help="default: what the folder says")
    karras = [name for name in SAMPLERS if name not in WHOLE and name != "euler_a"]  # diffusers' that have the option
    parser.add_argument("--karras", action="store_true", help="of " + ", ".join(karras))
    parser.add_argument("--limit", type=float, default=2.0)
    parser.add_argument("-o", "--output", metavar="PNG", help="where to keep what diffusers drew")
    noise = parser.add_mutually_exclusive_group(required=True)
    noise.add_argument("--seed", type=int)
    noise.add_argument("--latents", metavar="FILE.safetensors")
    return parser.parse_args()


def load_loras(pipeline, loras):
    names, weights = [], []
    for number, lora in enumerate(loras):
        path, colon, weight = lora.rpartition(":")
        if not colon:
            path, weight = lora, "1"
        names.append(f"lora{number}")
        weights.append(float(weight))
        pipeline.load_lora_weights(path, adapter_name=names[-1])
    if names:
        pipeline.set_adapters(names, weights)
    return sum("lora" in name for name, _ in pipeline.unet.named_parameters())


def load_embeddings(pipeline, paths):
    for path in paths:
        with safe_open(path, "pt") as file:
            token = (file.metadata() or {}).get("modelspec.trigger_phrase")
        token = token or os.path.splitext(os.path.basename(path))[0]
        rows = load_file(path)
        if "clip_l" not in rows:
            pipeline.load_textual_inversion(path, token=token)
            continue
        first = dict(text_encoder=pipeline.text_encoder, tokenizer=pipeline.tokenizer)
        second = dict(text_encoder=pipeline.text_encoder_2, tokenizer=pipeline.tokenizer_2)
        pipeline.load_textual_inversion(rows["clip_l"], token=token, **first)
        pipeline.load_textual_inversion(rows["clip_g"], token=token, **second)


def scheduler_for(options, config):
    made, more = SAMPLERS[options.scheduler]
    more = {key: value for key, value in more.items() if key != "set_alpha_to_one"}  # the folder says it
    if options.spacing:
        more["timestep_spacing"] = options.spacing
    if options.karras:
        more["use_karras_sigmas"] = True
    return made.from_config(config, **more)


def main():
    options = parse()
    theirs = np.asarray(Image.open(options.picture).convert("RGB"), dtype=np.float64)
    height, width = theirs.shape[:2]
    pipeline = DiffusionPipeline.from_pretrained(options.model, torch_dtype=torch.float32)
    pipeline.safety_checker = None
    pipeline.scheduler = scheduler_for(options, pipeline.scheduler.config)
    print(f"diffusers sees {load_loras(pipeline, options.lora)} LoRA tensors in the U-Net")
    load_embeddings(pipeline, options.embedding)
    rng = torch.Generator().manual_seed(options.seed or 0)  # of the noise that some samplers add, too
    if options.latents:
        latents = load_file(options.latents)["latents"]
    else:
        factor = pipeline.vae_scale_factor
        latents = torch.randn(1, 4, height // factor, width // factor, generator=rng)
    picture = pipeline(
        options.prompt,
        negative_prompt=options.negative,
        latents=latents,
        generator=rng,
        num_inference_steps=options.steps,
        guidance_scale=options.guidance_scale,
        height=height,
        width=width,
    ).images[0]
    if options.output:
        picture.save(options.output)
    difference = np.abs(np.asarray(picture, dtype=np.float64) - theirs)
    print(f"mean difference {difference.mean():.3f} of 255, largest {difference.max():.0f}")
    return int(difference.mean() > options.limit)


if __name__ == "__main__":
    sys.exit(main())
