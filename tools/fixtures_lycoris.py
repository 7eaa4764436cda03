#!/usr/bin/env python3
"""Writes tests/parity/fixtures/lycoris/: adapters of the fixture sd1-like in the forms of LyCORIS that leco turns into
others, and what the U-Net predicts with LyCORIS's own modules in it.

    tools/fixtures_lycoris.py
"""

import os

import torch
from diffusers import UNet2DConditionModel
from lycoris.modules.full import FullModule
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from safetensors.torch import save_file

FIXTURES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "parity", "fixtures")
OUT = os.path.join(FIXTURES, "lycoris")
RANK, ALPHA = 2, 1.5
FLOAT8 = torch.float8_e4m3fn, torch.float8_e5m2


def fill(module, size):
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape) * size
    return module


def tucker(unet):
    """LoCon, LoHa and LoKr of convolutions, in Tucker's form; of one 1x1 convolution and one linear layer besides."""
    layers = (
        ("down_blocks.0.resnets.0.conv1", LoConModule, 0.3, {}),
        ("down_blocks.1.resnets.0.conv2", LohaModule, 0.4, {}),
        ("mid_block.resnets.0.conv1", LokrModule, 0.4, dict(factor=4)),
        ("up_blocks.2.resnets.0.conv2", LoConModule, 0.3, {}),
        ("up_blocks.2.attentions.0.proj_in", LohaModule, 0.3, {}),
        ("mid_block.attentions.0.transformer_blocks.0.attn1.to_q", LokrModule, 0.3, dict(factor=4)),
    )
    for path, made, size, more in layers:
        of = unet.get_submodule(path)
        yield path, fill(made(path.replace(".", "_"), of, 1.0, RANK, ALPHA, use_tucker=True, **more), size)


def full(unet):
    """Whole differences, of layers without a bias: the others' comes with one of the bias."""
    for path in ("attn1.to_q", "attn2.to_k", "attn2.to_v"):
        path = "mid_block.attentions.0.transformer_blocks.0." + path
        yield path, fill(FullModule(path.replace(".", "_"), unet.get_submodule(path)), 0.1)


def small(unet):
    """LoRA whose matrices are of eight bits, of either kind."""
    for path, kind in zip(("attn1.to_k", "attn2.to_q"), FLOAT8):
        path = "mid_block.attentions.0.transformer_blocks.0." + path
        module = fill(LoConModule(path.replace(".", "_"), unet.get_submodule(path), 1.0, RANK, ALPHA), 0.3)
        for parameter in module.parameters():
            parameter.data = parameter.data.to(kind).float()
        yield path, module


def state_of(path, module, kind=None):
    for name, tensor in module.state_dict().items():
        name = {"weight": "diff"}.get(name, name)
        if name == "scalar":
            continue
        if kind and name != "alpha":
            tensor = tensor.to(kind)
        yield f"lora_unet_{path.replace('.', '_')}.{name}", tensor.contiguous().clone()


def main():
    os.makedirs(OUT, exist_ok=True)
    sample, context = torch.randn(1, 4, 8, 8), torch.randn(1, 77, 24)
    out = {"sample": sample, "context": context}
    for number, make in enumerate((tucker, full, small)):
        torch.manual_seed(20 + number)
        unet = UNet2DConditionModel.from_pretrained(os.path.join(FIXTURES, "sd1-like"), subfolder="unet")
        state = {}
        with torch.no_grad():
            for index, (path, module) in enumerate(make(unet)):
                module.apply_to()  # get_diff_weight scales LoHa and LoKr twice
                state.update(state_of(path, module, FLOAT8[index] if make is small else None))
            out["noise_pred." + make.__name__] = unet(sample, 301, encoder_hidden_states=context).sample
        save_file(state, os.path.join(OUT, make.__name__ + ".safetensors"))
        print(make.__name__, sorted({name.split(".", 1)[1] for name in state}))
    unet = UNet2DConditionModel.from_pretrained(os.path.join(FIXTURES, "sd1-like"), subfolder="unet")
    with torch.no_grad():
        out["noise_pred"] = unet(sample, 301, encoder_hidden_states=context).sample
    for name in ("tucker", "full", "small"):
        moved = (out["noise_pred." + name] - out["noise_pred"]).norm() / out["noise_pred"].norm()
        print(f"{name} moves the prediction by {moved:.2f}")
    save_file({name: tensor.contiguous().clone() for name, tensor in out.items()}, os.path.join(OUT, "out.safetensors"))


torch.manual_seed(19)
main()
