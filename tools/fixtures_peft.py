#!/usr/bin/env python3
"""Writes tests/parity/fixtures/peft/: LoRAs of the fixture sd1-like as diffusers and PEFT save them, now and formerly, and
what diffusers makes of them.

    tools/fixtures_peft.py
"""

import os

import torch
from diffusers import StableDiffusionPipeline
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

FIXTURES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "parity", "fixtures")
OUT = os.path.join(FIXTURES, "peft")
RANK, ALPHA = 4, 6


def old_name(name):
    """unet.A.attn1.to_q.lora_A.weight as diffusers before 0.22 had it."""
    for layer in ("to_q", "to_k", "to_v", "to_out.0"):
        for new, old in (("lora_A", "down"), ("lora_B", "up")):
            name = name.replace(f".{layer}.{new}.weight", f".processor.{layer.split('.')[0]}_lora.{old}.weight")
    return name


def by_pattern(pipe):
    """Ranks and alphas that differ, as PEFT's patterns give them: by a layer's name, and by a whole path."""
    whole = "mid_block.attentions.0.proj_in"
    pipe.unet.add_adapter(
        LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["to_q", "to_v", "proj_in"], init_lora_weights=False,
                   rank_pattern={"to_v": 2}, alpha_pattern={"to_q": 3, whole: 9, "attn2.to_v": 1}))
    unet = {n: t.detach() * 0.3 for n, t in get_peft_model_state_dict(pipe.unet).items()}
    StableDiffusionPipeline.save_lora_weights(OUT, unet, weight_name="patterns.safetensors",
                                              **_collate_lora_metadata({"unet": pipe.unet}))


def main():
    os.makedirs(OUT, exist_ok=True)
    torch.manual_seed(9)
    pipe = StableDiffusionPipeline.from_pretrained(os.path.join(FIXTURES, "sd1-like"), safety_checker=None)
    layers = ["to_q", "to_k", "to_v", "to_out.0", "proj_in"]
    pipe.unet.add_adapter(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=layers, init_lora_weights=False))
    pipe.text_encoder.add_adapter(
        LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["q_proj", "out_proj"], init_lora_weights=False))
    unet = {n: t.detach() * 0.3 for n, t in get_peft_model_state_dict(pipe.unet).items()}
    text = {n: t.detach() * 0.3 for n, t in get_peft_model_state_dict(pipe.text_encoder).items()}
    told = _collate_lora_metadata({"unet": pipe.unet, "text_encoder": pipe.text_encoder})
    StableDiffusionPipeline.save_lora_weights(OUT, unet, text, weight_name="diffusers.safetensors",
                                              **told)
    whole = load_file(os.path.join(OUT, "diffusers.safetensors"))
    attention = {n: t for n, t in whole.items() if n.startswith("unet.") and "proj_in" not in n}
    save_file(whole, os.path.join(OUT, "plain.safetensors"))  # without metadata: alpha is the rank
    save_file({old_name(n): t for n, t in attention.items()}, os.path.join(OUT, "old.safetensors"))
    save_file({n.replace("unet.", "base_model.model."): t for n, t in attention.items()}, os.path.join(OUT, "peft.safetensors"))

    by_pattern(StableDiffusionPipeline.from_pretrained(os.path.join(FIXTURES, "sd1-like"), safety_checker=None))

    ids = pipe.tokenizer(["a red star"], padding="max_length", max_length=pipe.tokenizer.model_max_length, truncation=True,
                         return_tensors="pt").input_ids
    sample = torch.randn(1, 4, 8, 8)
    out = {"input_ids": ids, "sample": sample}
    for name in ("diffusers", "plain", "old", "patterns"):
        pipe = StableDiffusionPipeline.from_pretrained(os.path.join(FIXTURES, "sd1-like"), safety_checker=None)
        with torch.no_grad():
            if name == "diffusers":
                out["context"] = pipe.text_encoder(ids)[0]
                out["base"] = pipe.unet(sample, 301, encoder_hidden_states=out["context"]).sample
            pipe.load_lora_weights(OUT, weight_name=name + ".safetensors")
            out["hidden." + name] = pipe.text_encoder(ids)[0]
            out["noise_pred." + name] = pipe.unet(sample, 301, encoder_hidden_states=out["context"]).sample
    save_file({n: t.contiguous().clone() for n, t in out.items()}, os.path.join(OUT, "out.safetensors"))


main()
