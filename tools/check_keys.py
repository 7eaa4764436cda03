#!/usr/bin/env python3
"""Do other programs know each key of the LoRAs that leco writes? (A check by hand: needs the exporter's venv, a build, and
checkouts of those programs, whose own code is run.)

    tools/check_keys.py --leco build/release/leco --comfyui ComfyUI --a1111 stable-diffusion-webui \\
        --sdcpp stable-diffusion.cpp --ggml ggml

Makes models of Stable Diffusion 1, 2 and XL at full depth, though narrow, trains LoRAs of all kinds of layers with leco,
and lets each program match the files' keys: ComfyUI's model_lora_keys_unet, model_lora_keys_clip and load_lora; A1111's
load_network; stable-diffusion.cpp's convert_tensor_name, compiled from its sources (ggml: for headers alone). What these
import besides is stubbed. Exit status 1 where a key is left over.
"""

import argparse
import importlib
import importlib.abc
import importlib.machinery
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import types

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

FIXTURES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "parity", "fixtures")
CROSS, PLAIN = "CrossAttn", ""

# Of each family: the fixture whose configs are widened to full depth, what is changed of its U-Net, layers of its text
# encoders, and the U-Net as ComfyUI describes it (its model_detection).
FAMILIES = {
    "sd1": dict(
        fixture="sd1-like",
        unet=dict(blocks=(CROSS, CROSS, CROSS, PLAIN), attention_head_dim=2, transformer_layers_per_block=1),
        text=(12,),
        comfy=dict(
            num_res_blocks=[2] * 4, channel_mult=[1, 2, 4, 4], transformer_depth=[1] * 6 + [0] * 2,
            transformer_depth_output=[1] * 9 + [0] * 3, transformer_depth_middle=1,
        ),
    ),
    "sd2": dict(
        fixture="sd2-like",
        unet=dict(blocks=(CROSS, CROSS, CROSS, PLAIN), attention_head_dim=[1, 2, 2, 2], transformer_layers_per_block=1),
        text=(23,),
        comfy=dict(
            num_res_blocks=[2] * 4, channel_mult=[1, 2, 4, 4], transformer_depth=[1] * 6 + [0] * 2,
            transformer_depth_output=[1] * 9 + [0] * 3, transformer_depth_middle=1,
        ),
    ),
    "sdxl": dict(
        fixture="sdxl-like",
        unet=dict(blocks=(PLAIN, CROSS, CROSS), attention_head_dim=[1, 2, 2], transformer_layers_per_block=[1, 2, 10]),
        text=(12, 32),
        comfy=dict(
            num_res_blocks=[2] * 3, channel_mult=[1, 2, 4], transformer_depth=[0, 0, 2, 2, 10, 10],
            transformer_depth_output=[0, 0, 0, 2, 2, 2, 10, 10, 10], transformer_depth_middle=10,
        ),
    ),
}
VERSIONS = dict(sd1="VERSION_SD1", sd2="VERSION_SD2", sdxl="VERSION_SDXL")  # stable-diffusion.cpp's


# ---- models and LoRAs ----


def read_json(*path):
    with open(os.path.join(*path)) as file:
        return json.load(file)


def make_model(family, folder):
    of = FAMILIES[family]
    source = os.path.join(FIXTURES, of["fixture"])
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    if not os.path.exists(os.path.join(folder, "vae")):
        shutil.copytree(os.path.join(FIXTURES, "sd1-like", "vae"), os.path.join(folder, "vae"))
    vae = "vae" if os.path.exists(os.path.join(source, "vae")) else os.path.join("..", "sd1-like", "vae")
    weights = "diffusion_pytorch_model.safetensors"
    shutil.copy(os.path.join(source, vae, weights), os.path.join(folder, "vae", weights))
    changes = dict(of["unet"])
    blocks = changes.pop("blocks")
    config = read_json(source, "unet", "config.json") | changes
    config |= dict(
        layers_per_block=2,
        block_out_channels=([8, 16, 16, 16])[: len(blocks)],
        down_block_types=[block + "DownBlock2D" for block in blocks],
        up_block_types=[block + "UpBlock2D" for block in reversed(blocks)],
    )
    UNet2DConditionModel.from_config(config).save_pretrained(os.path.join(folder, "unet"))
    for name, layers in zip(("text_encoder", "text_encoder_2"), of["text"]):
        config = CLIPTextConfig(**read_json(source, name, "config.json") | dict(num_hidden_layers=layers))
        projects = "CLIPTextModelWithProjection" in config.architectures
        model = (CLIPTextModelWithProjection if projects else CLIPTextModel)(config)
        model.save_pretrained(os.path.join(folder, name))


def train(leco, family, model, kind, text):
    """The LoRA's file; kind: lierla or c3lier."""
    work = os.path.dirname(model)
    name = f"{family}_{kind}{'_text' if text else ''}"
    config = f"""
pretrained_model: {{name_or_path: {model}, v2: {"true" if family == "sd2" else "false"}, v_pred: {"true" if family == "sd2" else "false"}}}
network: {{type: {kind}, rank: 2, alpha: 1, text_encoder: {"true" if text else "false"}}}
train: {{iterations: 1, precision: float32, max_denoising_steps: 2}}
save: {{name: {name}, path: {work}}}
prompts: [{{target: red, resolution: 64}}]
"""
    path = os.path.join(work, name + ".yaml")
    with open(path, "w") as file:
        file.write(config)
    done = subprocess.run([leco, "train", path, "-q"], check=True, text=True, stdout=subprocess.PIPE)
    return done.stdout.split()[-1]


# ---- stand-ins for what the programs import ----


class Anything(types.ModuleType):
    """A module of which everything can be asked: it has classes of any name."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {})
        setattr(self, name, made)
        return made


class Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, *names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        if any(name == stub or name.startswith(stub + ".") for stub in self.names):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return Anything(spec.name)

    def exec_module(self, module):
        pass


class Messages(logging.Handler):
    def __init__(self):
        super().__init__(logging.DEBUG)
        self.texts = []
        root = logging.getLogger()
        root.handlers = [self]
        root.setLevel(logging.DEBUG)

    def emit(self, record):
        self.texts.append(record.getMessage())


# ---- the programs ----


class ComfyUI:
    def __init__(self, path):
        sys.meta_path.insert(0, Stubs("comfy.model_management", "comfy.model_base", "comfy.cli_args"))
        sys.path.insert(0, path)
        cli = importlib.import_module("comfy.cli_args")
        cli.args = types.SimpleNamespace(mmap_torch_files=False, disable_mmap=False)
        self.lora = importlib.import_module("comfy.lora")
        self.utils = importlib.import_module("comfy.utils")

    def unet_keys(self, family):
        """The U-Net's original names, by ComfyUI's table."""
        return sorted(set(self.utils.unet_to_diffusers(FAMILIES[family]["comfy"]).values()))

    def left(self, family, path, messages):
        state = load_file(path)
        names = {"diffusion_model." + key: None for key in self.unet_keys(family)}
        unet = types.SimpleNamespace(
            state_dict=lambda: names, model_config=types.SimpleNamespace(unet_config=FAMILIES[family]["comfy"])
        )
        encoders = {"sd1": ("clip_l",), "sd2": ("clip_h",), "sdxl": ("clip_l", "clip_g")}[family]
        texts = {
            f"{encoder}.transformer.text_model.encoder.layers.{i}.{layer}.weight": None
            for encoder, layers in zip(encoders, FAMILIES[family]["text"])
            for i in range(layers)
            for layer in self.lora.LORA_CLIP_MAP
        }
        known = self.lora.model_lora_keys_unet(unet, {})
        known = self.lora.model_lora_keys_clip(types.SimpleNamespace(state_dict=lambda: texts), known)
        messages.texts.clear()
        patches = self.lora.load_lora(state, known)
        modules = {key.split(".")[0] for key in state}
        assert len(patches) == len(modules), f"{len(modules)} modules become {len(patches)} patches"
        return [text for text in messages.texts if "not loaded" in text]


class A1111:
    def __init__(self, path, comfy):
        self.comfy = comfy
        folder = os.path.join(path, "extensions-builtin", "Lora")
        sys.meta_path.insert(0, Stubs("modules", "gradio", "lora_patches"))
        sys.path.insert(0, folder)
        self.shared = importlib.import_module("modules.shared")
        self.shared.sd_model = None
        self.shared.opts = types.SimpleNamespace(lora_functional=False)
        nowhere = tempfile.mkdtemp()
        self.shared.cmd_opts = types.SimpleNamespace(lora_dir=nowhere, lyco_dir_backcompat=nowhere)
        self.shared.walk_files = lambda *paths, **options: []
        importlib.import_module("modules.sd_models").read_state_dict = load_file
        devices = importlib.import_module("modules.devices")
        devices.cpu, devices.dtype = "cpu", torch.float32
        self.networks = importlib.import_module("networks")

    @staticmethod
    def layer(name):
        """A1111 looks at the class of a layer, and at a convolution's kernel."""
        if name.split("_")[-1] == "attn":
            return torch.nn.MultiheadAttention(1, 1)
        if any(name.endswith(end) for end in ("_layers_2", "_layers_3", "_op", "_conv")):
            return torch.nn.Conv2d(1, 1, 3)
        return torch.nn.Conv2d(1, 1, 1) if "skip_connection" in name or name.endswith(("_proj_in", "_proj_out")) else torch.nn.Linear(1, 1)

    def left(self, family, path, messages):
        layers = {"diffusion_model." + key for key in self.comfy.unet_keys(family) if key.endswith(".weight")}
        clip = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2")
        open_clip = ("attn", "attn.out_proj", "mlp.c_fc", "mlp.c_proj")
        first, *second = FAMILIES[family]["text"]
        prefix = "0." if second else ""
        if family == "sd2":
            layers |= {f"model.transformer.resblocks.{i}.{n}.weight" for i in range(first) for n in open_clip}
            layers.add("model.transformer.resblocks.weight")  # by which A1111 knows version 2
        else:
            layers |= {f"{prefix}transformer.text_model.encoder.layers.{i}.{n}.weight" for i in range(first) for n in clip}
        for count in second:
            layers |= {f"1.model.transformer.resblocks.{i}.{n}.weight" for i in range(count) for n in open_clip}
        self.shared.sd_model = types.SimpleNamespace(network_layer_mapping={})
        state = load_file(path)
        for name in layers:
            name = name[: -len(".weight")].replace(".", "_")
            self.shared.sd_model.network_layer_mapping[name] = self.layer(name)
        messages.texts.clear()
        disk = types.SimpleNamespace(filename=path, name="lora")
        net = self.networks.load_network("lora", disk)
        modules = {key.split(".")[0] for key in state}
        assert len(net.modules) == len(modules), f"{len(modules)} modules become {len(net.modules)}"
        return [text for text in messages.texts if "didn't match keys" in text]


SDCPP_MAIN = """
#include <iostream>
#include "name_conversion.h"
int main() {
    for (std::string name; std::getline(std::cin, name);) std::cout << convert_tensor_name(name, %s) << "\\n";
}
"""


class SdCpp:
    def __init__(self, path, ggml, comfy):
        self.comfy = comfy
        src = os.path.join(path, "src")
        self.flags = ["-std=c++17", "-O0", "-w", "-ffunction-sections", "-Wl,--gc-sections", "-I" + src]
        self.flags += ["-I" + os.path.join(path, "include"), "-I" + os.path.join(ggml, "include")]
        self.sources = [os.path.join(src, "name_conversion.cpp")]
        self.folder = tempfile.mkdtemp()

    def convert(self, family, names):
        program = os.path.join(self.folder, family)
        if not os.path.exists(program):
            with open(program + ".cpp", "w") as file:
                file.write(SDCPP_MAIN % VERSIONS[family])
            # Small things of core/util.cpp that the names take; the rest of it would want all of ggml.
            with open(program + "_util.cpp", "w") as file:
                file.write(
                    '#include "core/util.h"\n'
                    "bool starts_with(const std::string& a, const std::string& b) { return a.rfind(b, 0) == 0; }\n"
                    "bool ends_with(const std::string& a, const std::string& b) {\n"
                    "    return a.size() >= b.size() && a.compare(a.size() - b.size(), b.size(), b) == 0;\n}\n"
                    "bool contains(const std::string& a, const std::string& b) { return a.find(b) != a.npos; }\n"
                    "std::vector<std::string> split_string(const std::string& text, char at) {\n"
                    "    std::vector<std::string> parts;\n    size_t from = 0, to;\n"
                    "    for (; (to = text.find(at, from)) != text.npos; from = to + 1) parts.push_back(text.substr(from, to - from));\n"
                    "    parts.push_back(text.substr(from));\n    return parts;\n}\n"
                    "void log_printf(sd_log_level_t, const char*, int, const char*, ...) {}\n"
                )
            subprocess.run(["c++", *self.flags, program + ".cpp", program + "_util.cpp", *self.sources, "-o", program], check=True)
        text = "\n".join(names) + "\n"
        return subprocess.run([program], input=text, text=True, capture_output=True, check=True).stdout.splitlines()

    def left(self, family, path, messages):
        unet = ["model.diffusion_model." + key for key in self.comfy.unet_keys(family)]
        clip = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2")
        first = {"sd1": "cond_stage_model.transformer", "sd2": "cond_stage_model.transformer"}.get(family)
        names = unet + [
            f"{first}.text_model.encoder.layers.{i}.{layer}.weight"
            for i in range(FAMILIES[family]["text"][0])
            for layer in clip
            if first
        ]
        known = set(self.convert(family, names))
        keys = sorted(load_file(path))
        left = []
        for key, became in zip(keys, self.convert(family, ["lora." + key for key in keys])):
            for end in (".lora_down", ".lora_up", ".alpha"):
                became = became.removesuffix(end)
            if became.removeprefix("lora.") not in known:
                left.append(f"{key} -> {became}")
        return left


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leco", required=True)
    parser.add_argument("--comfyui", required=True, help="a checkout; the others go by its table of original names")
    parser.add_argument("--a1111")
    parser.add_argument("--sdcpp")
    parser.add_argument("--ggml", help="a checkout of ggml, for --sdcpp")
    options = parser.parse_args()
    messages = Messages()
    comfy = ComfyUI(options.comfyui)
    programs = {"ComfyUI": comfy}
    if options.a1111:
        programs["A1111"] = A1111(options.a1111, comfy)
    if options.sdcpp:
        programs["stable-diffusion.cpp"] = SdCpp(options.sdcpp, options.ggml, comfy)
    failed = False
    with tempfile.TemporaryDirectory() as work:
        for family in FAMILIES:
            model = os.path.join(work, family)
            make_model(family, model)
            for kind in ("lierla", "c3lier"):
                path = train(options.leco, family, model, kind, family != "sdxl")
                for name, program in programs.items():
                    left = program.left(family, path, messages)
                    print(f"{name}: {family} {kind}: {len(load_file(path))} keys, {len(left)} left over")
                    for text in left[:5]:
                        print("   ", text)
                    failed = failed or bool(left)
    sys.exit(failed)


main()
