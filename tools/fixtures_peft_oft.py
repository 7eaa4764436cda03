#!/usr/bin/env python3
"""Writes tests/parity/fixtures/peft-oft/: OFT and BOFT of the fixture sd1-like as PEFT saves them, and what the U-Net
predicts with PEFT's own modules in it. Files of former versions come from these (and must not be written by others):

    tools/fixtures_peft_oft.py                              # with PEFT of today
    pip install --no-deps --target old peft==0.13.2 && _CHECK_PEFT=0 PYTHONPATH=old tools/fixtures_peft_oft.py
    ... peft==0.14.0 ...
    ... peft==0.17.1 ...
"""

import os
import types

import peft
import torch
from diffusers import UNet2DConditionModel
from peft import BOFTConfig, OFTConfig, get_peft_model
from peft.tuners.boft import layer as boft_layer
from safetensors.torch import load_file, save_file

FIXTURES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "parity", "fixtures")
OUT = os.path.join(FIXTURES, "peft-oft")
BLOCK = "mid_block.attentions.0.transformer_blocks.0."
LINEAR = [BLOCK + "attn1.to_q", BLOCK + "attn2.to_k", BLOCK + "ff.net.2"]
LAYERS = LINEAR + ["mid_block.attentions.0.proj_in"]
CONV = "down_blocks.0.resnets.0.conv1"

NOW = lambda: {
    "oft": OFTConfig(oft_block_size=4, target_modules=LAYERS),
    "exact": OFTConfig(oft_block_size=6, target_modules=LAYERS, use_cayley_neumann=False),
    "terms": OFTConfig(oft_block_size=4, target_modules=LINEAR, num_cayley_neumann_terms=7),
    "terms3": OFTConfig(oft_block_size=8, target_modules=LINEAR, num_cayley_neumann_terms=3),
    "coft": OFTConfig(oft_block_size=4, target_modules=LAYERS, coft=True, eps=0.7),
    "shared": OFTConfig(r=4, oft_block_size=0, target_modules=LAYERS, block_share=True),
    "diffusers": OFTConfig(oft_block_size=4, target_modules=LAYERS, use_cayley_neumann=False),
    "boft": BOFTConfig(boft_block_size=4, target_modules=LAYERS),
    "butterfly": BOFTConfig(boft_block_size=6, boft_n_butterfly_factor=3, target_modules=LAYERS),
    "conv16": OFTConfig(oft_block_size=4, target_modules=[CONV], use_cayley_neumann=False),
    "conv": BOFTConfig(boft_block_size=4, target_modules=[CONV]),
}
CASES = {
    "0.13.2": lambda: {
        "old13": OFTConfig(r=4, target_modules=LAYERS + [CONV]),
        "old13_shared": OFTConfig(r=2, target_modules=LINEAR, block_share=True, coft=True, eps=2e-3),
    },
    "0.14.0": lambda: {
        "old14": OFTConfig(r=0, oft_block_size=4, target_modules=LAYERS),
        "old14_coft": OFTConfig(r=4, oft_block_size=0, target_modules=LINEAR, coft=True, eps=0.03),
    },
    "0.17.1": lambda: {"old17": OFTConfig(oft_block_size=4, target_modules=LAYERS)},
}


def block_diagonal(blocks):
    """What PEFT's CUDA extension makes: without it BOFT has one stage."""
    return [torch.stack([torch.block_diag(*torch.unbind(stage)) for stage in blocks])]


def fill(model):
    for name, parameter in model.named_parameters():
        if "_s." in name:  # a scale
            parameter.data = 1 + torch.randn(parameter.shape) * 0.2
        elif "oft_" in name:
            parameter.data = torch.randn(parameter.shape) * 0.3


def save(name, unet, model):
    folder = os.path.join(OUT, name)
    os.makedirs(folder, exist_ok=True)
    if name == "diffusers":
        unet.save_lora_adapter(folder, weight_name="adapter_model.safetensors")
        return folder
    model.save_pretrained(folder)
    os.remove(os.path.join(folder, "README.md"))
    return folder


def main():
    boft_layer.get_fbd_cuda = lambda: types.SimpleNamespace(forward=block_diagonal)
    inputs = load_file(os.path.join(FIXTURES, "lycoris", "out.safetensors"))
    cases = CASES[peft.__version__]() if peft.__version__ in CASES else NOW()
    for number, (name, config) in enumerate(cases.items()):
        torch.manual_seed(60 + number)
        unet = UNet2DConditionModel.from_pretrained(os.path.join(FIXTURES, "sd1-like"), subfolder="unet")

        def predict():
            with torch.no_grad():
                return unet(inputs["sample"], 301, encoder_hidden_states=inputs["context"]).sample

        base = predict()
        if name == "diffusers":
            unet.add_adapter(config)
            model = unet
        else:
            model = get_peft_model(unet, config)
        fill(model)
        folder = save(name, unet, model)
        model.eval()
        out = predict()
        if name != "diffusers":
            unet = model.merge_and_unload()
        print(f"{peft.__version__} {name}: moves the prediction by {(out - base).norm() / base.norm():.2f}, merged "
              f"{(predict() - out).norm() / base.norm():.1e} off")
        save_file({"noise_pred": out.contiguous()}, os.path.join(folder, "out.safetensors"))


main()
