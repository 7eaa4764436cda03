"""LoHa, LoKr and DoRA as plain functions of tensors, for training runs; each held to its own program's modules."""

import copy

import torch
from lycoris.functional import factorization
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch.nn import functional as F

from fixtures_common import relative_error
from fixtures_lora import Lora, applied


def layer(module, x, weight, bias=None):
    """What the module would give with this weight."""
    if isinstance(module, nn.Linear):
        return F.linear(x, weight, bias)
    return F.conv2d(x, weight, bias, module.stride, module.padding)


class Kind(Lora):
    """tensors: path -> {suffix: tensor}. `draw` makes them, `added` says what they add to a module's output."""

    def __init__(self, unet, scope, rank, alpha, rng, fresh=False):
        self.rank, self.alpha, self.scope = rank, float(alpha), scope
        self.tensors = {path: self.draw(unet.get_submodule(path), rng, fresh) for path in self.targets(unet, scope)}

    def parameters(self):
        return [tensor for tensors in self.tensors.values() for tensor in tensors.values()]

    def named(self):
        for path, tensors in self.tensors.items():
            for suffix, tensor in tensors.items():
                yield f"{self.prefix}{path.replace('.', '_')}.{suffix}", tensor

    def map(self, change):
        other = object.__new__(type(self))
        other.rank, other.alpha, other.scope = self.rank, self.alpha, self.scope
        other.tensors = {
            path: {suffix: change(tensor) for suffix, tensor in tensors.items()}
            for path, tensors in self.tensors.items()
        }
        return other

    def modules(self):
        """(path, tensors, alpha) of each."""
        for path, tensors in self.tensors.items():
            yield path, tensors, self.alpha

    def hooks(self, unet, multiplier):
        def attach(module, tensors):
            return module.register_forward_hook(
                lambda _, inputs, output: output + self.added(module, tensors, inputs[0], output, multiplier)
            )

        return [attach(unet.get_submodule(path), tensors) for path, tensors in self.tensors.items()]


def spread(weight, rank, alpha):
    """Of a factor whose product with a standard normal one is about 0.3 of what the layer gives."""
    return 0.3 * rank**0.5 / alpha / weight[0].numel() ** 0.5


class DroppedLora(Lora):
    """LoRA as kohya's sd-scripts drops of it while it learns: not while trajectories are made."""

    seed, rates = 11, dict(dropout=0.3, rank_dropout=0.2, module_dropout=0.1)

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.draws = torch.Generator().manual_seed(self.seed)

    def map(self, change):
        other = super().map(change)
        other.draws = torch.Generator().manual_seed(self.seed)
        return other

    def mask(self, samples, rows):
        """[samples, rows, rank]. A module that is left out has gradients of 0: without any, AdamW would skip it."""
        element, rank, module = self.rates.values()
        if torch.rand(1, generator=self.draws) < module:
            return torch.zeros(samples, rows, self.rank)
        kept = (torch.rand(samples, rows, self.rank, generator=self.draws) >= element) / (1 - element)
        return kept * ((torch.rand(samples, 1, self.rank, generator=self.draws) >= rank) / (1 - rank))

    def hooks(self, unet, multiplier):
        if not torch.is_grad_enabled():
            return super().hooks(unet, multiplier)
        scale = multiplier * self.alpha / self.rank

        def attach(module, down, up):
            def change(x):
                if isinstance(module, nn.Linear):
                    low = F.linear(x, down)
                    mask = self.mask(low.shape[0], low[0].numel() // self.rank)
                    return F.linear(low * mask.view_as(low).to(low), up)
                low = F.conv2d(x, down)
                n, _, height, width = low.shape
                mask = self.mask(n, height * width).view(n, height, width, -1).permute(0, 3, 1, 2)
                return F.conv2d(low * mask.to(low), up)

            return module.register_forward_hook(lambda _, inputs, output: output + scale * change(inputs[0]))

        return [attach(unet.get_submodule(path), *pair) for path, pair in self.pairs.items()]


class PlainLoha(Kind):
    name, zero = "loha", ("hada_w2_a",)

    def draw(self, module, rng, fresh):
        outputs, columns = module.weight.shape[0], module.weight[0].numel()
        size = (0.3 * self.rank / self.alpha) ** 0.5 / columns**0.25 / self.rank**0.5
        normal = lambda *shape: torch.randn(*shape, generator=rng)  # noqa: E731
        tensors = dict(
            hada_w1_a=normal(outputs, self.rank) * (0.1 if fresh else size),
            hada_w1_b=normal(self.rank, columns),
            hada_w2_a=normal(outputs, self.rank) * (0 if fresh else size),
            hada_w2_b=normal(self.rank, columns),
        )
        return tensors

    def added(self, module, t, x, output, multiplier):
        change = (t["hada_w1_a"] @ t["hada_w1_b"]) * (t["hada_w2_a"] @ t["hada_w2_b"])
        return multiplier * self.alpha / self.rank * layer(module, x, change.view_as(module.weight))

    def original(self, path, module):
        return LohaModule(path.replace(".", "_"), module, 1.0, self.rank, self.alpha)


class PlainLokr(Kind):
    """thin: both matrices are products, as decompose_both makes them; else the first is whole."""

    name, zero, thin = "lokr", ("lokr_w2_b", "lokr_w2"), False

    def draw(self, module, rng, fresh):
        outputs, inputs, *kernel = module.weight.shape
        (a, b), (c, d) = factorization(outputs), factorization(inputs)
        taps = torch.tensor(kernel).prod().item() if kernel else 1
        normal = lambda *shape: torch.randn(*shape, generator=rng)  # noqa: E731
        whole = self.rank >= max(b, d) / 2
        size = spread(module.weight, self.rank, self.rank if whole else self.alpha)
        tensors = {}
        if self.thin and self.rank < max(a, c) / 2:
            tensors.update(lokr_w1_a=normal(a, self.rank), lokr_w1_b=normal(self.rank, c) / self.rank**0.5)
        else:
            tensors.update(lokr_w1=normal(a, c))
        if whole:
            tensors.update(lokr_w2=normal(b, d, *kernel) * (0 if fresh else size))
        else:
            tensors.update(lokr_w2_a=normal(b, self.rank), lokr_w2_b=normal(self.rank, d * taps) * (0 if fresh else size))
        return tensors

    def modules(self):
        for path, tensors in self.tensors.items():
            yield path, tensors, float(self.rank) if "lokr_w1" in tensors and "lokr_w2" in tensors else self.alpha

    def added(self, module, t, x, output, multiplier):
        outputs, inputs, *kernel = module.weight.shape
        first = t["lokr_w1"] if "lokr_w1" in t else t["lokr_w1_a"] @ t["lokr_w1_b"]
        second = t["lokr_w2"] if "lokr_w2" in t else t["lokr_w2_a"] @ t["lokr_w2_b"]
        second = second.reshape(outputs // first.shape[0], inputs // first.shape[1], *kernel)
        scale = 1 if "lokr_w1" in t and "lokr_w2" in t else self.alpha / self.rank
        change = torch.kron(first.reshape(*first.shape, *(1 for _ in kernel)), second)
        return multiplier * scale * layer(module, x, change)

    def original(self, path, module):
        return LokrModule(path.replace(".", "_"), module, 1.0, self.rank, self.alpha, decompose_both=self.thin)


class ThinLokr(PlainLokr):
    thin = True


class Dora(Kind):
    """by_input: norms of the columns, as files made with LyCORIS's wd_on_out=False have them."""

    name, zero, by_input = "dora", ("lora_up.weight",), False

    def norms(self, weight):
        dims = [i for i in range(weight.dim()) if i != (1 if self.by_input else 0)]
        return torch.linalg.vector_norm(weight, dim=dims, keepdim=True)

    def draw(self, module, rng, fresh):
        weight = module.weight.detach()
        outputs, inputs, *kernel = weight.shape
        down = torch.randn(self.rank, inputs, *kernel, generator=rng) * weight[0].numel() ** -0.5
        up = torch.randn(outputs, self.rank, *(1 for _ in kernel), generator=rng)
        up *= 0 if fresh else 0.3 * self.rank**0.5 / self.alpha
        scale = self.norms(weight)
        if not fresh:
            scale = scale * (1 + 0.2 * torch.randn(scale.shape, generator=rng))
        return {"lora_down.weight": down, "lora_up.weight": up, "dora_scale": scale}

    def added(self, module, t, x, output, multiplier):
        down, up, weight = t["lora_down.weight"], t["lora_up.weight"], module.weight
        change = self.alpha / self.rank * (up.flatten(1) @ down.flatten(1)).view_as(weight)
        norms = self.norms(weight + change).detach()  # DoRA, section 4.3
        return multiplier * layer(module, x, t["dora_scale"] / norms * (weight + change) - weight)

    def original(self, path, module):
        return LoConModule(
            path.replace(".", "_"), module, 1.0, self.rank, self.alpha, weight_decompose=True, wd_on_out=not self.by_input
        )


class DoraByInput(Dora):
    by_input = True


def check_against_lycoris(unet, adapter, inputs, prediction, multiplier=1.0):
    """LyCORIS's own modules, with these tensors, must find the same prediction."""
    unet = copy.deepcopy(unet)
    for path, tensors, alpha in adapter.modules():
        module = adapter.original(path, unet.get_submodule(path))
        state = {**tensors, "alpha": torch.tensor(alpha)}
        missing = module.load_state_dict(state, strict=False)
        assert not missing.unexpected_keys and not [k for k in missing.missing_keys if k != "scalar"], missing
        module.multiplier = multiplier
        module.apply_to()
    with torch.no_grad():
        assert relative_error(unet(**inputs).sample, prediction) < 1e-5, "LyCORIS makes something else of it"


def check_against_peft(unet, adapter, inputs, target, gradients, loss):
    """PEFT's DoRA: the loss and the gradients of all tensors."""
    unet = copy.deepcopy(unet)
    paths = list(adapter.tensors)
    config = LoraConfig(
        r=adapter.rank, lora_alpha=adapter.alpha, target_modules=paths, use_dora=True, init_lora_weights=False
    )
    inject_adapter_in_model(config, unet)
    found = {}
    for path, tensors in adapter.tensors.items():
        module = unet.get_submodule(path)
        places = {
            "lora_down.weight": module.lora_A["default"],
            "lora_up.weight": module.lora_B["default"],
            "dora_scale": module.lora_magnitude_vector["default"],
        }
        for suffix, place in places.items():
            place.weight.data.copy_(tensors[suffix].reshape(place.weight.shape))
            found[f"{adapter.prefix}{path.replace('.', '_')}.{suffix}"] = place.weight
    theirs = F.mse_loss(unet(**inputs).sample, target)
    assert abs(theirs.item() / loss.item() - 1) < 1e-5, "PEFT makes something else of it"
    for (key, weight), gradient in zip(found.items(), torch.autograd.grad(theirs, list(found.values()))):
        wanted = gradients[key]
        assert (gradient.reshape(wanted.shape) - wanted).norm() < 1e-3 * wanted.norm(), f"PEFT: gradient of {key}"
