#!/usr/bin/env python3
"""Writes tests/parity/fixtures/lycoris/: adapters of the fixture sd1-like in the forms of LyCORIS that leco turns into
others, and what the U-Net predicts with LyCORIS's own modules in it.

    tools/fixtures_lycoris.py
"""

import os

import torch
from diffusers import UNet2DConditionModel
from lycoris.modules.boft import ButterflyOFTModule
from lycoris.modules.diag_oft import DiagOFTModule
from lycoris.modules.full import FullModule
from lycoris.modules.glora import GLoRAModule
from lycoris.modules.ia3 import IA3Module
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from lycoris.modules.norms import NormModule
from safetensors.torch import save_file
from transformers import CLIPTextModel

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
    """Whole differences, of layers without a bias."""
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


BLOCK = "mid_block.attentions.0.transformer_blocks.0."


def made(model, kind, path, size, **options):
    return path, fill(kind(path.replace(".", "_"), model.get_submodule(path), **options), size)


def biases(unet):
    """Whole differences with those of biases, a bias's beside a LoRA, and norms of all sorts."""
    for path in ("down_blocks.0.resnets.0.conv1", "mid_block.attentions.0.proj_in", BLOCK + "attn1.to_out.0"):
        yield made(unet, FullModule, path, 0.1)
    path = "mid_block.attentions.0.proj_out"
    yield made(unet, LoConModule, path, 0.3, multiplier=1.0, lora_dim=RANK, alpha=ALPHA)
    unet.get_submodule(path).extra = torch.randn(24) * 0.3  # main puts it into the file, and into the layer
    for path in ("down_blocks.0.resnets.0.norm1", "mid_block.attentions.0.norm", BLOCK + "norm2", "conv_norm_out"):
        yield made(unet, NormModule, path, 0.3)


def oft(unet):
    """Blocks without a constraint, and with one that holds; a convolution's."""
    for path, rank, constraint in (
        (BLOCK + "attn1.to_q", 4, 0),
        (BLOCK + "attn2.to_out.0", 8, 0.02),
        ("down_blocks.0.resnets.0.conv1", 2, 0),
        ("mid_block.attentions.0.proj_in", 4, 0.01),
    ):
        yield made(unet, DiagOFTModule, path, 0.2, lora_dim=rank, constraint=constraint)


def rescaled(unet):
    path, module = made(unet, DiagOFTModule, BLOCK + "attn1.to_v", 0.2, lora_dim=4, rescaled=True)
    module.rescale.data = 1 + module.rescale.data
    yield path, module


def glora(unet):
    for path in (BLOCK + "attn1.to_q", BLOCK + "ff.net.2", "mid_block.attentions.0.proj_in", "mid_block.resnets.0.conv1"):
        yield made(unet, GLoRAModule, path, 0.2, multiplier=1.0, lora_dim=RANK, alpha=ALPHA)


def glora_old(unet):
    """Of two layers that aren't square: state_of writes the matrices as LyCORIS once did, the other way round."""
    for path in (BLOCK + "attn2.to_k", BLOCK + "ff.net.2"):
        yield made(unet, GLoRAModule, path, 0.2, multiplier=1.0, lora_dim=RANK, alpha=ALPHA)


def ia3(unet):
    for path, on_input in (
        (BLOCK + "attn1.to_k", False),
        (BLOCK + "attn1.to_q", True),
        (BLOCK + "ff.net.2", True),
        ("mid_block.resnets.0.conv1", False),
        ("down_blocks.0.resnets.0.conv2", True),
    ):
        yield made(unet, IA3Module, path, 0.4, train_on_input=on_input)


def boft(unet):
    """Three stages each; without a constraint, and with one that holds; a 3x3 convolution's."""
    for path, size, constraint in (
        (BLOCK + "attn1.to_q", 6, 0),
        (BLOCK + "attn2.to_out.0", 6, 0.02),
        ("down_blocks.0.resnets.0.conv1", 2, 0),
        ("mid_block.attentions.0.proj_in", 12, 0.01),
    ):
        yield made(unet, ButterflyOFTModule, path, 0.2, lora_dim=size, constraint=constraint)


def boft_rescaled(unet):
    for path in (BLOCK + "attn1.to_v", "mid_block.resnets.0.conv1"):
        path, module = made(unet, ButterflyOFTModule, path, 0.2, lora_dim=6, rescaled=True)
        module.rescale.data = 1 + module.rescale.data
        yield path, module


def glora_tucker(unet):
    """As LyCORIS 3.0.0 wrote 3x3 convolutions with use_tucker; later ones read it, and don't write it."""
    for path in ("mid_block.resnets.0.conv1", "down_blocks.0.resnets.0.conv2"):
        of = unet.get_submodule(path)
        _, module = made(unet, GLoRAModule, path, 0.2, multiplier=1.0, lora_dim=RANK, alpha=ALPHA)
        module.b2 = torch.nn.Conv2d(of.in_channels, RANK, 1, bias=False)
        module.bm = torch.nn.Conv2d(RANK, RANK, 3, of.stride, of.padding, bias=False)
        module.tucker = True
        yield path, fill(module, 0.3)


def oft_diag(unet):
    """As LyCORIS 2.0 wrote them: the rotations themselves, which state_of takes."""
    for path, rank in ((BLOCK + "attn1.to_q", 4), ("down_blocks.0.resnets.0.conv1", 2)):
        yield made(unet, DiagOFTModule, path, 0.2, lora_dim=rank)


OLD = {"a1.weight": "a2.weight", "a2.weight": "a1.weight", "b1.weight": "b2.weight", "b2.weight": "b1.weight"}


def state_of(path, module, make, kind=None):
    prefix = "lora_unet_"
    if make is oft_diag:
        yield f"{prefix}{path.replace('.', '_')}.oft_diag", module.get_r().contiguous().clone()
        return
    if make is oft and module.constraint > 0:
        prefix = "oft_unet_"  # kohya's networks.oft, whose formula is the same
    for name, tensor in module.state_dict().items():
        if isinstance(module, FullModule):
            name = {"weight": "diff"}.get(name, name)
        if make is glora_old:
            name = OLD.get(name, name)
        if name == "scalar":
            continue
        if kind and name != "alpha":
            tensor = tensor.to(kind)
        yield f"{prefix}{path.replace('.', '_')}.{name}", tensor.contiguous().clone()


def text(out):
    """A norm and a bias of the text encoder."""
    torch.manual_seed(40)
    encoder = CLIPTextModel.from_pretrained(os.path.join(FIXTURES, "sd1-like"), subfolder="text_encoder")
    ids = torch.randint(1, 40, (1, 77))
    state = {}
    out["input_ids"] = ids.to(torch.int32)
    with torch.no_grad():
        out["last_hidden_state"] = encoder(ids).last_hidden_state
        for path, kind in (
            ("text_model.encoder.layers.0.layer_norm1", NormModule),
            ("text_model.final_layer_norm", NormModule),
            ("text_model.encoder.layers.1.mlp.fc1", FullModule),
        ):
            _, module = made(encoder, kind, path, 0.3)
            module.apply_to()
            for name, tensor in module.state_dict().items():
                state[f"lora_te_{path.replace('.', '_')}.{name}"] = tensor.contiguous().clone()
        out["last_hidden_state.text"] = encoder(ids).last_hidden_state
    save_file(state, os.path.join(OUT, "text.safetensors"))


MAKERS = (tucker, full, small, biases, oft, rescaled, glora, glora_old, ia3, boft, boft_rescaled, glora_tucker, oft_diag)


def main():
    os.makedirs(OUT, exist_ok=True)
    sample, context = torch.randn(1, 4, 8, 8), torch.randn(1, 77, 24)
    out = {"sample": sample, "context": context}
    for number, make in enumerate(MAKERS):
        torch.manual_seed(20 + number)
        unet = UNet2DConditionModel.from_pretrained(os.path.join(FIXTURES, "sd1-like"), subfolder="unet")
        state, modules = {}, []
        with torch.no_grad():
            for index, (path, module) in enumerate(make(unet)):
                module.apply_to()  # get_diff_weight scales LoHa and LoKr twice
                modules.append(module)
                state.update(state_of(path, module, make, FLOAT8[index] if make is small else None))
                extra = getattr(unet.get_submodule(path), "extra", None)
                if extra is not None:
                    state[f"lora_unet_{path.replace('.', '_')}.diff_b"] = extra
                    unet.get_submodule(path).bias.data += extra
            out["noise_pred." + make.__name__] = unet(sample, 301, encoder_hidden_states=context).sample
            if make in (oft, glora, ia3):
                for module in modules:
                    module.multiplier = 0.5
                out["noise_pred." + make.__name__ + ".half"] = unet(sample, 301, encoder_hidden_states=context).sample
        save_file(state, os.path.join(OUT, make.__name__ + ".safetensors"))
        print(make.__name__, sorted({name.split(".", 1)[1] for name in state}))
    unet = UNet2DConditionModel.from_pretrained(os.path.join(FIXTURES, "sd1-like"), subfolder="unet")
    with torch.no_grad():
        out["noise_pred"] = unet(sample, 301, encoder_hidden_states=context).sample
    for name in (make.__name__ for make in MAKERS):
        moved = (out["noise_pred." + name] - out["noise_pred"]).norm() / out["noise_pred"].norm()
        print(f"{name} moves the prediction by {moved:.2f}")
    text(out)
    save_file({name: tensor.contiguous().clone() for name, tensor in out.items()}, os.path.join(OUT, "out.safetensors"))


torch.manual_seed(19)
main()
