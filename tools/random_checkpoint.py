#!/usr/bin/env python3
"""Writes a checkpoint of random float16 weights at full size, under the original names in one file: for timing and for
measuring memory where no checkpoint can be had. It draws noise.

    tools/random_checkpoint.py sd15|sd21|sdxl FILE.safetensors

CLIP's vocabulary comes with leco, so that prompts are read as by the real ones. "leco convert FILE -o FOLDER" makes a
diffusers folder of it. Sizes are those of diffusers' own configs of these models; one tensor is in memory at a time.
"""

import json
import math
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import fixtures_checkpoint as names

LAYERS = 2  # residual blocks of a level
CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
CROSS_UP, PLAIN_UP = "CrossAttnUpBlock2D", "UpBlock2D"

UNETS = {
    "sd15": dict(sample_size=64, block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=768, attention_head_dim=8,
                 down_block_types=(CROSS,) * 3 + (PLAIN,), up_block_types=(PLAIN_UP,) + (CROSS_UP,) * 3),
    "sd21": dict(sample_size=96, block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=1024,
                 attention_head_dim=(5, 10, 20, 20), use_linear_projection=True,
                 down_block_types=(CROSS,) * 3 + (PLAIN,), up_block_types=(PLAIN_UP,) + (CROSS_UP,) * 3),
    "sdxl": dict(sample_size=128, block_out_channels=(320, 640, 1280), cross_attention_dim=2048,
                 attention_head_dim=(5, 10, 20), transformer_layers_per_block=(1, 2, 10), use_linear_projection=True,
                 down_block_types=(PLAIN, CROSS, CROSS), up_block_types=(CROSS_UP, CROSS_UP, PLAIN_UP),
                 addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816),
}
VAE = dict(sample_size=512, latent_channels=4, block_out_channels=(128, 256, 512, 512), layers_per_block=LAYERS,
           down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)


def text_encoder(kind, width, layers, heads, act):
    return kind(CLIPTextConfig(vocab_size=names.TOKENS, hidden_size=width, intermediate_size=4 * width,
                               num_hidden_layers=layers, num_attention_heads=heads, max_position_embeddings=77,
                               hidden_act=act, projection_dim=width))


def words_of(encoder):
    return {n: t for n, t in encoder.state_dict().items() if "position_ids" not in n}


def open_clip(encoder, layers, spare):
    words = words_of(encoder)
    out = names.open_clip(words, layers, spare)
    out["token_embedding.weight"] = words["text_model.embeddings.token_embedding.weight"]
    return out


def shapes(family):
    """All tensors of the checkpoint by their names, without values."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(layers_per_block=LAYERS, **UNETS[family])
        vae = AutoencoderKL(**VAE)
        if family == "sd15":
            text = {"cond_stage_model.transformer.": words_of(text_encoder(CLIPTextModel, 768, 12, 12, "quick_gelu"))}
        elif family == "sd21":
            encoder = text_encoder(CLIPTextModel, 1024, 23, 16, "gelu")
            text = {"cond_stage_model.model.": open_clip(encoder, 23, True)}
        else:
            first = text_encoder(CLIPTextModel, 768, 12, 12, "quick_gelu")
            second = text_encoder(CLIPTextModelWithProjection, 1280, 32, 20, "gelu")
            text = {"conditioner.embedders.0.transformer.": words_of(first),
                    "conditioner.embedders.1.model.": open_clip(second, 32, False)}
    names.ATTENTIONS.clear()
    names.ATTENTIONS.update(".".join(n.split(".")[:3]) for n in unet.state_dict() if n.startswith("up_blocks"))
    all_of = {"model.diffusion_model." + names.unet_names(n, LAYERS): t.shape for n, t in unet.state_dict().items()}
    for n, t in vae.state_dict().items():
        matrix = n.endswith("weight") and "attentions" in n and t.dim() == 2
        all_of["first_stage_model." + names.vae_names(n, 4)] = (*t.shape, 1, 1) if matrix else t.shape
    for prefix, tensors in text.items():
        all_of.update({prefix + n: t.shape for n, t in tensors.items()})
    return all_of


def values(name, shape, random):
    """So large that what goes in comes out about as large."""
    if len(shape) < 2:
        return np.full(shape, 1 if name.endswith("weight") else 0, np.float16)  # a norm's
    fan_in = 4096 if "embedding" in name else math.prod(shape[1:])
    return (random.standard_normal(shape, np.float32) / math.sqrt(fan_in)).astype(np.float16)


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in UNETS:
        sys.exit(__doc__.strip())
    family, path = sys.argv[1:]
    all_of = shapes(family)
    header, offset = {"__metadata__": {"modelspec.prediction_type": "v"}} if family == "sd21" else {}, 0
    for name, shape in all_of.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(0)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in all_of.items():
            file.write(values(name, tuple(shape), random).tobytes())
    print(f"{path}: {len(all_of)} tensors, {offset / 2**30:.2f} GiB")


main()
