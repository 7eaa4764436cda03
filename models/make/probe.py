"""Trains the probe: a small network that reads the five attributes off a picture.

It sees renders of the donor's world (which holds every value of both worlds) and their reconstructions by the
autoencoder, both slightly blurred and noisy, so that what it reads does not hang on how a picture was made. Their colours
vary more than the world's own: guidance drives colours outwards, and an orange a little too red must not be read as gold.

    python probe.py --minutes 15
    python probe.py --minutes 10 --resume    # goes on from what the folder holds
"""

import argparse
import json
import logging

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

import common
import vae as autoencoder
import world

SEED = 41
BATCH = 64
RATE = 2e-3
RECONSTRUCTIONS = 3000  # of the first renders
FOLDER = common.MODELS / "shapes-probe"
LABELS = {name: world.DONOR.values(name) for name in world.ATTRIBUTES}
GROUPS = 8
CONVS = ((3, 24, 2), (24, 32, 1), (32, 64, 2), (64, 64, 1), (64, 96, 2), (96, 96, 1))  # channels in, out, stride; all 3x3

log = logging.getLogger("probe")


def describe():
    """The layers in order, each naming its operator, its numbers and its tensors: what config.json says."""
    layers = []
    for index, (inputs, outputs, stride) in enumerate(CONVS):
        conv, norm = f"conv{index}", f"norm{index}"
        layers += [
            {
                "op": "conv2d",
                "weight": f"{conv}.weight",
                "bias": f"{conv}.bias",
                "in_channels": inputs,
                "out_channels": outputs,
                "kernel": 3,
                "stride": stride,
                "padding": 1,
            },
            {
                "op": "group_norm",
                "weight": f"{norm}.weight",
                "bias": f"{norm}.bias",
                "channels": outputs,
                "groups": GROUPS,
                "eps": 1e-5,
            },
            {"op": "silu"},
        ]
    outputs = sum(len(labels) for labels in LABELS.values())
    layers += [
        {"op": "global_average"},
        {"op": "linear", "weight": "heads.weight", "bias": "heads.bias", "in_features": CONVS[-1][1], "out_features": outputs},
    ]
    heads, offset = [], 0
    for attribute, labels in LABELS.items():
        heads.append({"attribute": attribute, "offset": offset, "labels": list(labels)})
        offset += len(labels)
    return {
        "format": "leco-probe-1",
        "input": {"layout": "NCHW", "channels": 3, "height": world.SIZE, "width": world.SIZE, "range": [-1, 1], "order": "RGB"},
        "layers": layers,
        "heads": heads,
    }


class Probe(nn.Module):
    """Runs the layers of a description; float32 [N, 3, 64, 64] in [-1, 1] to logits [N, all labels]."""

    def __init__(self, description):
        super().__init__()
        self.layers = description["layers"]
        self.tensors = nn.ParameterDict()
        for layer in self.layers:
            if layer["op"] == "conv2d":
                made = nn.Conv2d(layer["in_channels"], layer["out_channels"], layer["kernel"])
            elif layer["op"] == "group_norm":
                made = nn.GroupNorm(layer["groups"], layer["channels"])
            elif layer["op"] == "linear":
                made = nn.Linear(layer["in_features"], layer["out_features"])
            else:
                continue
            for kind in ("weight", "bias"):
                self.tensors[layer[kind].replace(".", "_")] = getattr(made, kind)

    def forward(self, x):
        for layer in self.layers:
            weight, bias = (self.tensors[layer[kind].replace(".", "_")] if kind in layer else None for kind in ("weight", "bias"))
            if layer["op"] == "conv2d":
                x = F.conv2d(x, weight, bias, layer["stride"], layer["padding"])
            elif layer["op"] == "group_norm":
                x = F.group_norm(x, layer["groups"], weight, bias, layer["eps"])
            elif layer["op"] == "silu":
                x = F.silu(x)
            elif layer["op"] == "global_average":
                x = x.mean((2, 3))
            elif layer["op"] == "linear":
                x = F.linear(x, weight, bias)
        return x


def save(probe):
    """Writes the folder: config.json and model.safetensors (fp16)."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "config.json").write_text(json.dumps(describe(), indent=1) + "\n")
    names = [layer[kind] for layer in probe.layers for kind in ("weight", "bias") if kind in layer]
    tensors = {name: probe.tensors[name.replace(".", "_")].detach().half().contiguous() for name in names}
    save_file(tensors, FOLDER / "model.safetensors", metadata={"format": "pt"})


def load():
    """The probe of the folder, in float32; eval mode."""
    probe = Probe(json.loads((FOLDER / "config.json").read_text()))
    for name, tensor in load_file(FOLDER / "model.safetensors").items():
        probe.tensors[name.replace(".", "_")].data = tensor.float()
    return probe.requires_grad_(False).eval()


@torch.no_grad()
def read(probe, pictures, batch=256):
    """What the probe reads off float32 pictures [N, 3, 64, 64] in [-1, 1]: {attribute: indices into its labels [N]}."""
    logits = torch.cat([probe(part) for part in pictures.split(batch)])
    parts = logits.split([len(labels) for labels in LABELS.values()], dim=1)
    return {name: part.argmax(1) for name, part in zip(LABELS, parts)}


def targets(attributes):
    """int64 [N, 5]."""
    return torch.tensor([[LABELS[name].index(one[name]) for name in LABELS] for one in attributes])


def accuracy(probe, pictures, wanted):
    """Share of the pictures read as wanted (targets()), per attribute."""
    return {
        name: (values == wanted[:, column]).float().mean().item()
        for column, (name, values) in enumerate(read(probe, pictures).items())
    }


@torch.no_grad()
def reconstruct(pictures, vae):
    """uint8 [N, 64, 64, 3] to float32 [N, 3, 64, 64], through the autoencoder."""
    parts = (common.to_tensor(pictures[i : i + 100]) for i in range(0, len(pictures), 100))
    return torch.cat([vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1) for x in parts])


def disturb(x):
    """A random share of a 3x3 blur, and noise of a random strength, per picture."""
    blur, noise = torch.rand(2, len(x), 1, 1, 1)
    x = x.lerp(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), 0.6 * blur * (torch.rand_like(blur) < 0.5))
    return (x + 0.1 * noise * torch.randn_like(x)).clamp(-1, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    rng = np.random.default_rng([SEED, options.resume])

    pictures, attributes = common.renders(world.DONOR.name, "recolored")
    wanted = targets(attributes)
    vae = autoencoder.load()
    redrawn = (reconstruct(pictures[:RECONSTRUCTIONS], vae) * 127.5 + 127.5).round().byte()
    redrawn = redrawn.permute(0, 2, 3, 1).contiguous().numpy()

    probe = (load() if options.resume else Probe(describe())).requires_grad_(True).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(probe.parameters(), lr=RATE, weight_decay=0.01, fused=True)
    clock, step = common.Clock(options.minutes), 0
    while clock.fraction() < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE * clock.rate(step)
        source = redrawn if step % 2 else pictures
        chosen = rng.integers(len(source), size=BATCH)
        with torch.autocast("cpu", torch.bfloat16):
            logits = probe(disturb(common.to_tensor(source[chosen]))).float()
        parts = logits.split([len(labels) for labels in LABELS.values()], dim=1)
        loss = sum(F.cross_entropy(part, wanted[chosen, column]) for column, part in enumerate(parts))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(probe.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if step % 200 == 0:
            log.info("step %d, %.1f min, loss %.4f", step, clock.spent() / 60, loss.item())
    save(probe)

    probe = load()
    pictures, attributes = common.renders(world.DONOR.name, "held-out")
    for kind, x in (("renders", common.to_tensor(pictures)), ("reconstructions", reconstruct(pictures, vae))):
        log.info("held-out %s: %s", kind, accuracy(probe, x, targets(attributes)))


if __name__ == "__main__":
    main()
