"""What every parity fixture has in common: seeds, the case-file writer, the checks."""

import contextlib
import copy
import json
import os
import struct
import sys
import zlib

import torch

FIXTURES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "parity", "fixtures")

# A float32 reference further than this from its own float64 recomputation is no reference: the C side is
# held to 1e-4, and rounding must not use up a noticeable part of that.
MAX_FLOAT32_NOISE = 2e-5

# Fixture name -> another limit, where the weights are given and can't be drawn to suit.
NOISE_LIMITS = {}

# Fixture name -> what all its case files record besides their own recipe.
EXTRA_RECIPE = {}

_DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.int64: "I64"}


def seed_of(name):
    """A seed that depends on nothing but what it is for, so that adding a case leaves the others as they are."""
    return zlib.crc32(name.encode())


def generator(name):
    return torch.Generator().manual_seed(seed_of(name))


def relative_error(actual, reference):
    """Largest error over largest magnitude: the measure the C tests use."""
    scale = reference.double().abs().max().item()
    error = (actual.double() - reference.double()).abs().max().item()
    return error / scale if scale else error


def in_float64(module):
    return copy.deepcopy(module).double()


def as_float64(value):
    """Inputs of a float64 run: floating tensors widen, everything else stays."""
    if isinstance(value, dict):
        return {key: as_float64(item) for key, item in value.items()}
    return value.double() if torch.is_tensor(value) and value.is_floating_point() else value


@contextlib.contextmanager
def default_float64():
    """transformers builds its causal mask in the default dtype, and can't in float64 unless that is the default."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def versions():
    import diffusers
    import numpy
    import tokenizers
    import transformers

    return {
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
        "numpy": numpy.__version__,
    }


def write_safetensors(path, tensors, metadata):
    """Like safetensors.torch.save_file, but byte for byte the same on every run (that one orders metadata by hash).

    The widest dtype goes first so that every tensor is aligned to its element size.
    """
    ordered = sorted(tensors.items(), key=lambda item: -item[1].element_size())
    header, blobs, offset = {"__metadata__": metadata}, [], 0
    for name, tensor in ordered:
        blob = tensor.detach().contiguous().numpy().tobytes()
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, ensure_ascii=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


class CaseFile:
    """Collects the tensors of one `<kind>.safetensors` and what each of them is."""

    def __init__(self, fixture, kind, **recipe):
        self.path = os.path.join(FIXTURES, fixture, kind + ".safetensors")
        self.command = f"python3 tools/export_fixtures.py {fixture}"
        recipe = {**EXTRA_RECIPE.get(fixture, {}), **recipe}
        self.recipe = {key: value if isinstance(value, str) else json.dumps(value) for key, value in recipe.items()}
        self.noise_limit = NOISE_LIMITS.get(fixture, MAX_FLOAT32_NOISE)
        self.tensors = {}
        self.meanings = {}

    def add(self, name, tensor, meaning=None, exact=None, may_vanish=False):
        """Adds a tensor. `exact` is the same thing from a float64 run; `meaning` may be left out where a
        `describe` covers a whole group of names."""
        tensor = tensor.detach().clone()
        note = ""
        if tensor.is_floating_point():
            assert tensor.dtype in _DTYPES, name
            assert torch.isfinite(tensor).all(), f"{self.path}: {name} is not finite"
            assert may_vanish or tensor.abs().max() > 1e-6, f"{self.path}: {name} is all but zero"
        if exact is not None:
            noise = relative_error(tensor, exact)
            assert noise < self.noise_limit, f"{self.path}: {name} is {noise:.1e} from its float64 value"
            note = f" (float64 differs by {noise:.0e})"
        assert name not in self.tensors, name
        self.tensors[name] = tensor
        if meaning:
            self.describe(name, f"{_DTYPES[tensor.dtype]} {list(tensor.shape)} {meaning}{note}")

    def describe(self, pattern, meaning):
        self.meanings["tensor." + pattern] = meaning

    def write(self):
        metadata = {
            "made_by": self.command,
            "versions": json.dumps(versions()),
            **self.recipe,
            **self.meanings,
        }
        write_safetensors(self.path, self.tensors, metadata)
