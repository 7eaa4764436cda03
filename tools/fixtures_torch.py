#!/usr/bin/env python3
"""Writes tests/parity/fixtures/torch/: small files as torch.save makes them, and beside them what is in them.

    tools/fixtures_torch.py
"""

import collections
import os
from unittest.mock import patch

import numpy
import torch
from safetensors.torch import save_file

OUT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "parity", "fixtures", "torch")


def tensors():
    """Every type and layout that files have."""
    g = torch.Generator().manual_seed(7)
    base = torch.randn(6, 8, generator=g)
    return {
        "plain": torch.randn(3, 5, generator=g),
        "half": torch.randn(4, generator=g).half(),
        "bfloat": torch.randn(2, 2, 2, generator=g).bfloat16(),
        "double": torch.randn(3, generator=g).double(),
        "long": torch.tensor([1, -2, 1 << 40]),
        "int": torch.tensor([[5, -6]], dtype=torch.int32),
        "scalar": torch.tensor(1.5),
        "empty": torch.zeros(0, 4),
        "transposed": base.T,
        "cut": base[1:4, 2:7],
        "row": base[2],
        "parameter": torch.nn.Parameter(torch.randn(2, 3, generator=g)),
        "kernel": torch.randn(2, 3, 3, 3, generator=g).contiguous(memory_format=torch.channels_last),
    }


def main():
    os.makedirs(OUT, exist_ok=True)
    plain = tensors()
    odd = {"byte": torch.tensor([1, 2, 3], dtype=torch.uint8), "flag": torch.tensor([True, False]),
           "float8": torch.tensor([0.5, -2.0]).to(torch.float8_e4m3fn)}
    clones = {name: t.detach().contiguous().clone() for name, t in plain.items()}
    save_file(clones, os.path.join(OUT, "expected.safetensors"))

    def put(name, value, **options):
        torch.save(value, os.path.join(OUT, name), **options)

    put("plain.pt", plain)
    put("ordered.pt", collections.OrderedDict(plain))
    put("old.pt", plain, _use_new_zipfile_serialization=False)
    put("protocol4.pt", plain, pickle_protocol=4)
    put("odd.pt", {**plain, **odd})
    # A checkpoint, as trainers leave it.
    put("checkpoint.ckpt", {"epoch": 3, "global_step": 840000, "state_dict": plain, "loss": numpy.float64(0.25),
                            "optimizer_states": [{"state": {0: {"step": 2, "exp_avg": torch.zeros(3)}}}],
                            "hyper": {"lr": 1e-4, "name": "x", "betas": (0.9, 0.999), "none": None, "big": 1 << 80}})
    # Embeddings: A1111's, and the older diffusers'.
    rows = torch.randn(2, 24, generator=torch.Generator().manual_seed(3))
    put("embedding.pt", {"string_to_token": {"*": 265}, "string_to_param": {"*": torch.nn.Parameter(rows)},
                         "name": "mine", "step": 100, "sd_checkpoint": None})
    put("learned_embeds.bin", {"<mine>": rows[0]})
    # The original textual inversion's, whose tensors are a module's; and that module as PyTorch 1 had it.
    module = torch.nn.ParameterDict({"*": torch.nn.Parameter(rows)})
    put("module.pt", {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": module})
    module.__dict__["_parameters"] = collections.OrderedDict(module._parameters)
    del module.__dict__["_keys"]
    with patch.object(torch.serialization, "get_source_lines_and_file", lambda of: (["# left out"], 1, "container.py")):
        put("old_module.pt", {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": module},
            _use_new_zipfile_serialization=False)
    # A LoRA of the fixture sd1-like, as Concept Sliders saves it, and the same as .safetensors.
    layer = "lora_unet_up_blocks_2_attentions_1_transformer_blocks_0_attn2_to_k"
    g = torch.Generator().manual_seed(5)
    lora = {layer + ".alpha": torch.tensor(2.0), layer + ".lora_down.weight": torch.randn(4, 24, generator=g),
            layer + ".lora_up.weight": torch.randn(8, 4, generator=g)}
    put("lora.pt", lora)
    save_file(lora, os.path.join(OUT, "lora.safetensors"))
    # What trainers of their own write: numbers that are no tensors, numpy's arrays, a dict around them.
    matrix = numpy.arange(6, dtype="f4").reshape(2, 3) / 4 - 200  # bytes above 0x7f, and 0
    numbers = {"a.alpha": 2, "b.alpha": 0.5, "c.alpha": numpy.float32(1.5), "d.alpha": numpy.int64(-3), "loss": 0.25,
               "seen": numpy.float64(3), "ordered": matrix, "fortran": numpy.asfortranarray(matrix),
               "half": matrix.astype("f2"), "whole": numpy.array([[1, -2]]), "none": numpy.zeros((0, 2), dtype="f4"),
               "names": numpy.array(["x"]), "real": torch.tensor([1.0])}
    for name, options in (("numbers.pt", {}), ("numbers4.pt", {"pickle_protocol": 4}),
                          ("numbers5.pt", {"pickle_protocol": 5})):
        put(name, {"lora": numbers, "config": {"rank": 4}, "epoch": 3}, **options)
    save_file({**{k: torch.from_numpy(numpy.ascontiguousarray(v)) for k, v in numbers.items()
                  if isinstance(v, numpy.ndarray) and k != "names"}, "real": numbers["real"],
               **{k: torch.tensor(float(v), dtype=torch.float64) for k, v in numbers.items() if k.endswith(".alpha")}},
              os.path.join(OUT, "numbers.safetensors"))


main()
