#!/usr/bin/env python3
"""Writes tests/parity/fixtures/p1atdev/*.safetensors: the losses of p1atdev's own trainer, float32 on a CPU.

    tools/export_p1atdev.py FOLDER [NAME...]

FOLDER is a checkout of github.com/p1atdev/LECO, whose modules are run as they are; what its train_lora.py does around them
on a card is done here on the CPU. Each case trains models/shapes from one seed and records every loss.
"""

import contextlib
import importlib
import io
import json
import os
import sys
import time

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTokenizer

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT = os.path.join(ROOT, "tests", "parity", "fixtures", "p1atdev")
MODEL = os.path.join(ROOT, "models", "shapes")
VAE_FACTOR = 4  # of that model; p1atdev's code has 8, of Stable Diffusion

ONE = [{"target": "red", "action": "erase", "guidance_scale": 1.0}]
SEVERAL = [
    {"target": "a red star", "positive": "red", "neutral": "a star", "guidance_scale": 2.0, "batch_size": 2},
    {"target": "a star", "positive": "a large star", "unconditional": "a small star", "neutral": "a star", "action": "enhance"},
    {"target": "moon"},
]
CHANGING = [{"target": "blue", "dynamic_resolution": True, "resolution": 256}, {"target": "heart", "resolution": 128}]

CASES = {
    "one": {"prompts": ONE, "seed": 3},
    "several": {"prompts": SEVERAL, "seed": 11},
    "one_c3lier": {"prompts": ONE, "seed": 5, "type": "c3lier"},
    "several_c3lier": {"prompts": SEVERAL, "seed": 7, "type": "c3lier", "rank": 6},
    "changing": {"prompts": CHANGING, "seed": 13, "iterations": 4},
    "ddpm": {"prompts": SEVERAL, "seed": 2, "scheduler": "ddpm", "iterations": 5},
    "lms": {"prompts": SEVERAL, "seed": 19, "scheduler": "lms", "iterations": 5},
    "euler_a": {"prompts": SEVERAL, "seed": 23, "scheduler": "euler_a", "iterations": 5},
    "lion": {"prompts": ONE, "seed": 29, "optimizer": "lion", "lr_scheduler": "cosine", "lr": 1e-4, "iterations": 8},
}


def complete(case):
    usual = {"type": "lierla", "rank": 4, "alpha": 1.0, "scheduler": "ddim", "optimizer": "adamw", "lr": 1e-3,
             "lr_scheduler": "constant", "iterations": 20, "steps": 10}
    return {**usual, **case}


def load(folder):
    """The modules of p1atdev's checkout."""
    sys.path.insert(0, folder)
    theirs = [importlib.import_module(name) for name in ("lora", "model_util", "prompt_util", "train_util")]
    theirs[3].VAE_SCALE_FACTOR = VAE_FACTOR
    return theirs


def train(theirs, case):
    """One training as p1atdev's train_lora.py does it. Returns the loss of every iteration, the seconds that these took, and
    the LoRA."""
    lora, model_util, prompt_util, train_util = theirs
    tokenizer = CLIPTokenizer.from_pretrained(MODEL, subfolder="tokenizer")
    text_encoder = CLIPTextModel.from_pretrained(MODEL, subfolder="text_encoder").eval()
    unet = UNet2DConditionModel.from_pretrained(MODEL, subfolder="unet").eval()
    unet.requires_grad_(False)
    scheduler = model_util.create_noise_scheduler(case["scheduler"], "epsilon")

    torch.manual_seed(case["seed"])
    kinds = list(lora.UNET_TARGET_REPLACE_MODULE_TRANSFORMER)
    if case["type"] == "c3lier":
        kinds += lora.UNET_TARGET_REPLACE_MODULE_CONV
    lora.DEFAULT_TARGET_REPLACE = kinds
    network = lora.LoRANetwork(unet, rank=case["rank"], multiplier=1.0, alpha=case["alpha"])
    optimizer = train_util.get_optimizer(case["optimizer"])(network.prepare_optimizer_params(), lr=case["lr"])
    rate = train_util.get_lr_scheduler(case["lr_scheduler"], optimizer, max_iterations=case["iterations"],
                                       lr_min=case["lr"] / 100)
    pairs = []
    with torch.no_grad():
        for entry in case["prompts"]:
            settings = prompt_util.PromptSettings(**{"resolution": 64, **entry})
            texts = [settings.target, settings.positive, settings.unconditional, settings.neutral]
            states = [train_util.encode_prompts(tokenizer, text_encoder, [text]) for text in texts]
            pairs.append(prompt_util.PromptEmbedsPair(torch.nn.MSELoss(), *states, settings))

    losses = []
    begin = time.monotonic()
    for _ in range(case["iterations"]):
        with torch.no_grad():
            scheduler.set_timesteps(case["steps"])
            optimizer.zero_grad()
            pair = pairs[torch.randint(0, len(pairs), (1,)).item()]
            done = torch.randint(1, case["steps"], (1,)).item()
            height = width = pair.resolution
            if pair.dynamic_resolution:
                height, width = train_util.get_random_resolution_in_bucket(pair.resolution)
            latents = train_util.get_initial_latents(scheduler, pair.batch_size, height, width, 1)

            def both(text):
                return train_util.concat_embeddings(pair.unconditional, text, pair.batch_size)

            with network:
                latents = train_util.diffusion(unet, scheduler, latents, both(pair.target), start_timesteps=0,
                                               total_timesteps=done, guidance_scale=3)
            scheduler.set_timesteps(1000)
            timestep = scheduler.timesteps[int(done * 1000 / case["steps"])]

            def predict(text):
                return train_util.predict_noise(unet, scheduler, timestep, latents, both(text), guidance_scale=1)

            frozen = {name + "_latents": predict(getattr(pair, name)) for name in ("positive", "neutral", "unconditional")}
        with network:
            student = predict(pair.target)
        loss = pair.loss(target_latents=student, **frozen)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        rate.step()
    return losses, time.monotonic() - begin, network


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    os.makedirs(OUT, exist_ok=True)
    theirs = load(sys.argv[1])
    for name in sys.argv[2:] or CASES:
        case = complete(CASES[name])
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            losses, _, _ = train(theirs, case)
        path = os.path.join(OUT, name + ".safetensors")
        save_file({"losses": torch.tensor(losses, dtype=torch.float64)}, path, {"case": json.dumps(case)})
        print(f"{name}: {len(losses)} losses, {losses[0]:.6f} to {losses[-1]:.6f}")


if __name__ == "__main__":
    main()
