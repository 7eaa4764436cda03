#!/usr/bin/env python3
"""Writes tests/parity/fixtures/configs/defaults.json: what diffusers' and transformers' classes have in their configs.

    python3 tools/dump_configs.py [SITE-PACKAGES...]     # default: where this Python finds diffusers and transformers

Reads the packages' sources and imports nothing. With several folders (the newest first) each class gets the keys of all
of them. tests/unit/config_defaults.c checks each key: leco reads it, or it doesn't matter, or it is refused by name.
"""

import ast
import glob
import importlib.util
import json
import os
import sys

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/parity/fixtures/configs/defaults.json")
MODELS = {
    "UNet2DConditionModel": "diffusers/models/unets/unet_2d_condition.py",
    "AutoencoderKL": "diffusers/models/autoencoders/autoencoder_kl.py",
    "CLIPTextConfig": "transformers/models/clip/configuration_clip.py",
    "PretrainedConfig": "transformers/configuration_utils.py",
    "EMAModel": "diffusers/training_utils.py",
}


def value_of(node):
    return eval(compile(ast.Expression(node), "default", "eval"), {"__builtins__": {}, "float": float})


def arguments(function):
    a = function.args
    optional = a.args[len(a.args) - len(a.defaults) :]
    pairs = [*zip(optional, a.defaults), *zip(a.kwonlyargs, a.kw_defaults)]
    return {name.arg: value_of(value) for name, value in pairs if value is not None}


def fields(body):
    """Of a dataclass."""
    for node in body:
        if isinstance(node, ast.AnnAssign) and node.value is not None and "ClassVar" not in ast.unparse(node.annotation):
            yield node.target.id, value_of(node.value)


def returned(function):
    """The keys of the dictionaries that a function returns; values that aren't constants are told as 1."""
    found = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict):
            for key, value in zip(node.value.keys, node.value.values):
                found[key.value] = value.value if isinstance(value, ast.Constant) else 1
    return found


def config_of(body):
    found = {}
    functions = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
    if "state_dict" in functions:  # EMAModel's, which it saves among the model's keys
        return {key: value for key, value in returned(functions["state_dict"]).items() if key != "shadow_params"}
    if "__init__" in functions:
        found.update(arguments(functions["__init__"]))
    else:
        found.update(fields(body))
    for name in ("_get_global_generation_defaults", "_get_generation_defaults"):
        if name in functions:
            found.update(returned(functions[name]))
    return found


def classes_of(folder):
    for path in sorted(glob.glob(os.path.join(folder, "diffusers/schedulers/scheduling_*.py"))):
        for node in ast.parse(open(path).read()).body:
            if isinstance(node, ast.ClassDef) and any("SchedulerMixin" in ast.unparse(b) for b in node.bases):
                if not node.name.startswith("Flax"):
                    yield "schedulers", node.name, config_of(node.body)
    for name, path in MODELS.items():
        for node in ast.parse(open(os.path.join(folder, path)).read()).body:
            if isinstance(node, ast.ClassDef) and node.name.lower() == name.lower():
                yield "models", name, config_of(node.body)


def main():
    folders = sys.argv[1:] or [os.path.dirname(os.path.dirname(importlib.util.find_spec("diffusers").origin))]
    found = {"schedulers": {}, "models": {}}
    for folder in folders:
        for kind, name, config in classes_of(folder):
            found[kind][name] = {**config, **found[kind].get(name, {})}
    os.makedirs(os.path.dirname(OUT), exist_ok=True)
    with open(OUT, "w") as file:
        json.dump(found, file, indent=1, sort_keys=True)
        file.write("\n")


if __name__ == "__main__":
    main()
