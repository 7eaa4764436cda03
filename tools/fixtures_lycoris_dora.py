#!/usr/bin/env python3
"""Writes tests/parity/fixtures/lycoris-dora/: LoHas and LoKrs of the fixture sd1-like with LyCORIS's weight
decomposition (dora_wd), in all forms, and what the U-Net predicts with LyCORIS's own modules in it, asked with what
fixtures/lycoris/out.safetensors has.

    tools/fixtures_lycoris_dora.py
"""

import os

import torch
from diffusers import UNet2DConditionModel
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from safetensors.torch import load_file, save_file

FIXTURES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "parity", "fixtures")
OUT = os.path.join(FIXTURES, "lycoris-dora")
RANK, ALPHA = 2, 1.5
BLOCK = "mid_block.attentions.0.transformer_blocks.0."
CONV, SECOND, POINT = "down_blocks.0.resnets.0.conv1", "down_blocks.1.resnets.0.conv2", "mid_block.attentions.0.proj_in"

FILES = {
    "loha": [(LohaModule, BLOCK + "attn2.to_k", dict(wd_on_output=True)),
             (LohaModule, BLOCK + "attn1.to_q", dict(wd_on_output=False)),
             (LohaModule, CONV, dict(wd_on_output=True)),
             (LohaModule, SECOND, dict(wd_on_output=False, use_tucker=True)),
             (LohaModule, POINT, dict(wd_on_output=True))],
    "lokr": [(LokrModule, BLOCK + "attn2.to_k", dict(wd_on_output=True, factor=4)),
             (LokrModule, BLOCK + "attn1.to_q", dict(wd_on_output=False, factor=4, full_matrix=True)),
             (LokrModule, BLOCK + "ff.net.2", dict(wd_on_output=True, factor=2, full_matrix=True)),
             (LokrModule, BLOCK + "ff.net.0.proj", dict(wd_on_output=True, factor=8, full_matrix=True)),
             (LokrModule, BLOCK + "attn2.to_q", dict(wd_on_output=True, factor=8, decompose_both=True)),
             (LokrModule, CONV, dict(wd_on_output=False, factor=2)),
             (LokrModule, SECOND, dict(wd_on_output=True, factor=2, use_tucker=True)),
             (LokrModule, "up_blocks.2.resnets.0.conv2", dict(wd_on_output=True, factor=2, full_matrix=True)),
             (LokrModule, POINT, dict(wd_on_output=True, factor=4))],
}


def main():
    os.makedirs(OUT, exist_ok=True)
    asked = load_file(os.path.join(FIXTURES, "lycoris", "out.safetensors"))
    out = {}
    for number, (name, layers) in enumerate(FILES.items()):
        torch.manual_seed(60 + number)
        unet = UNet2DConditionModel.from_pretrained(os.path.join(FIXTURES, "sd1-like"), subfolder="unet").eval()
        state = {}
        with torch.no_grad():
            for kind, path, options in layers:
                module = kind(path.replace(".", "_"), unet.get_submodule(path), 1.0, RANK, ALPHA, weight_decompose=True,
                              **options)
                for key, parameter in module.named_parameters():
                    if key == "dora_scale":
                        parameter.mul_(1 + 0.2 * torch.randn(parameter.shape))
                    else:
                        parameter.copy_(torch.randn(parameter.shape) * 0.3)
                module.eval()
                module.apply_to()
                state.update({f"lora_unet_{path.replace('.', '_')}.{key}": tensor.contiguous().clone()
                              for key, tensor in module.state_dict().items() if key != "scalar"})
            out["noise_pred." + name] = unet(asked["sample"], 301, encoder_hidden_states=asked["context"]).sample
        save_file(state, os.path.join(OUT, name + ".safetensors"))
        print(name, sorted({key.split(".", 1)[1] for key in state}),
              float((out["noise_pred." + name] - asked["noise_pred"]).norm() / asked["noise_pred"].norm()))
    save_file(out, os.path.join(OUT, "out.safetensors"))


main()
