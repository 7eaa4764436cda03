"""Writes a model's folder, in the layout of diffusers, fp16, from the latest checkpoints.

    python export.py shapes
"""

import argparse

import torch
from diffusers import StableDiffusionPipeline

import common
import text
import unet
import vae as autoencoder
import world


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=tuple(world.WORLDS))
    name = parser.parse_args().name

    tokenizer = text.build_tokenizer(name)
    model = unet.load(name, tokenizer)
    vae = autoencoder.load()
    vae.register_to_config(scaling_factor=unet.scaling_factor())
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=model.text_encoder,
        tokenizer=tokenizer,
        unet=model.unet,
        scheduler=unet.build_scheduler(name),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(common.MODELS / name, safe_serialization=True)


if __name__ == "__main__":
    main()
