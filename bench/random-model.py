#!/usr/bin/env python3
"""Writes a diffusers folder of Stable Diffusion 1.5's shapes with random float16 weights, for timing whole trainings where
no checkpoint can be had.

    python3 bench/random-model.py FOLDER

The tokenizer is the small one of tests/parity/fixtures/sd1-like, and the text encoder's table is as long as that one's.
"""

import os
import shutil
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

SMALL = os.path.join(os.path.dirname(__file__), "..", "tests", "parity", "fixtures", "sd1-like")
VOCABULARY = 914


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    folder = sys.argv[1]
    torch.manual_seed(0)
    os.makedirs(folder, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        unet = UNet2DConditionModel(
            sample_size=64, in_channels=4, out_channels=4, block_out_channels=(320, 640, 1280, 1280),
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3, layers_per_block=2, cross_attention_dim=768,
            attention_head_dim=8)
        vae = AutoencoderKL(
            in_channels=3, out_channels=3, latent_channels=4, sample_size=512, block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2)
        text = CLIPTextModel(CLIPTextConfig(
            vocab_size=VOCABULARY, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
            num_attention_heads=12, hidden_act="quick_gelu", bos_token_id=0, eos_token_id=2, pad_token_id=1))
    for name, part in (("unet", unet), ("vae", vae)):
        part.half().save_pretrained(os.path.join(folder, name))
    # By hand: newer versions of transformers leave "text_model." out of the names, the files that people have don't.
    os.makedirs(os.path.join(folder, "text_encoder"), exist_ok=True)
    text.config.save_pretrained(os.path.join(folder, "text_encoder"))
    tensors = {"text_model." + key.removeprefix("text_model."): value.contiguous().cpu()
               for key, value in text.half().state_dict().items() if "position_ids" not in key}
    save_file(tensors, os.path.join(folder, "text_encoder", "model.safetensors"))
    for name in ("tokenizer", "scheduler"):
        shutil.copytree(os.path.join(SMALL, name), os.path.join(folder, name), dirs_exist_ok=True)
    shutil.copy(os.path.join(SMALL, "model_index.json"), folder)


main()
