"""LoRA: which modules, files under kohya's names, a plain application of them, gradients, and short training runs."""

import contextlib
import copy
import math
import os

import torch
from diffusers import DDIMScheduler
from diffusers.loaders import StableDiffusionLoraLoaderMixin, StableDiffusionXLLoraLoaderMixin
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import Upsample2D
from diffusers.training_utils import EMAModel
from lycoris.modules.loha import LohaModule
from schedulefree import AdamWScheduleFree
from torch import nn
from torch.nn import functional as F

from fixtures_common import FIXTURES, CaseFile, as_float64, generator, in_float64, relative_error, seed_of
from fixtures_models import add_unet_inputs, tokenize, unet_inputs

STEPS = 10  # denoising steps of the short runs
TRAJECTORY_GUIDANCE = 3.0


def target_modules(unet, scope):
    """Paths of the modules that an adapter of this scope covers, in the U-Net's own order."""
    parents = {"lierla": (Transformer2DModel,), "c3lier": (Transformer2DModel, ResnetBlock2D, Downsample2D, Upsample2D)}
    paths = []
    for parent_path, parent in unet.named_modules():
        if not isinstance(parent, parents[scope]):
            continue
        for path, module in parent.named_modules():
            pointwise = isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
            if isinstance(module, nn.Linear) or pointwise or (scope == "c3lier" and isinstance(module, nn.Conv2d)):
                paths.append(f"{parent_path}.{path}")
    assert len(paths) == len(set(paths))
    return paths


class Lora:
    """y = W x + b + multiplier * alpha / rank * up(down(x)), at every module it covers."""

    prefix = "lora_unet_"
    targets = staticmethod(target_modules)

    def __init__(self, unet, scope, rank, alpha, rng, fresh=False):
        """fresh: as training starts, with up = 0; otherwise random, so that every product shows."""
        self.rank, self.alpha, self.scope = rank, float(alpha), scope
        self.pairs = {}
        for path in self.targets(unet, scope):
            module = unet.get_submodule(path)
            kernel = () if isinstance(module, nn.Linear) else module.kernel_size
            outputs, inputs = module.weight.shape[:2]
            down = torch.empty(rank, inputs, *kernel)
            if fresh:
                nn.init.kaiming_uniform_(down, a=5**0.5, generator=rng)
                up = torch.zeros(outputs, rank, *(1 for _ in kernel))
            else:
                down.normal_(0, down[0].numel() ** -0.5, generator=rng)
                up = torch.randn(outputs, rank, *(1 for _ in kernel), generator=rng)
                up *= 0.3 * rank**0.5 / self.alpha  # its product is then 0.3 of what the module gives
            self.pairs[path] = (down, up)

    def parameters(self):
        return [tensor for pair in self.pairs.values() for tensor in pair]

    def named(self):
        """(kohya key, tensor), alpha left out."""
        for path, (down, up) in self.pairs.items():
            stem = self.prefix + path.replace(".", "_")
            yield stem + ".lora_down.weight", down
            yield stem + ".lora_up.weight", up

    def map(self, change):
        """The same adapter with other tensors: change(tensor) for each."""
        other = object.__new__(type(self))
        other.rank, other.alpha, other.scope = self.rank, self.alpha, self.scope
        other.pairs = {path: tuple(change(tensor) for tensor in pair) for path, pair in self.pairs.items()}
        return other

    name, module, zero = "lora", "networks.lora", ("lora_up.weight",)

    def modules(self):
        """(path, tensors by suffix, alpha) of each."""
        for path, (down, up) in self.pairs.items():
            yield path, {"lora_down.weight": down, "lora_up.weight": up}, self.alpha

    def hooks(self, unet, multiplier):
        """On the U-Net, which then gives what it does with the adapter on."""
        scale = multiplier * self.alpha / self.rank

        def attach(module, down, up):
            if isinstance(module, nn.Linear):
                change = lambda x: F.linear(F.linear(x, down), up)  # noqa: E731
            else:
                change = lambda x: F.conv2d(F.conv2d(x, down, None, module.stride, module.padding), up)  # noqa: E731
            return module.register_forward_hook(lambda _, inputs, output: output + scale * change(inputs[0]))

        return [attach(unet.get_submodule(path), *pair) for path, pair in self.pairs.items()]

    def save(self, fixture, kind, comment):
        file = CaseFile(fixture, kind, comment=comment, scope=self.scope, rank=self.rank, alpha=self.alpha)
        file.recipe.update(
            ss_network_module=self.module, ss_network_dim=str(self.rank), ss_network_alpha=str(self.alpha)
        )
        self.add_to(file)
        file.write()

    def add_to(self, file):
        for path, tensors, alpha in self.modules():
            stem = self.prefix + path.replace(".", "_")
            for suffix, tensor in tensors.items():
                file.add(f"{stem}.{suffix}", tensor)
            file.add(f"{stem}.alpha", torch.tensor(alpha))


@contextlib.contextmanager
def applied(unet, *loras_and_multipliers):
    """The U-Net with these adapters on; outside the block it is untouched."""
    handles = [handle for lora, multiplier in loras_and_multipliers for handle in lora.hooks(unet, multiplier)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# ------------------------------------------------------------------------------------------------------- first values


def lora_init(fixture, unet, rank, seed, kind="lora_init", scope="lierla"):
    """Writes `<kind>.safetensors`: what p1atdev's LECO draws when it makes an adapter of a rank above what some layers
    have channels. A linear layer gets that rank, a convolution no more than its channels; each module takes three draws."""
    torch.manual_seed(seed)
    ranks, values = [], []
    for path in target_modules(unet, scope):
        module = unet.get_submodule(path)
        outputs, inputs = module.weight.shape[:2]
        if isinstance(module, nn.Linear):
            own = rank
            down, up = nn.Linear(inputs, own, bias=False), nn.Linear(own, outputs, bias=False)
        else:
            own = min(rank, inputs, outputs)
            down = nn.Conv2d(inputs, own, module.kernel_size, module.stride, module.padding, bias=False)
            up = nn.Conv2d(own, outputs, 1, bias=False)
        nn.init.kaiming_uniform_(down.weight, a=5**0.5)
        ranks.append(own)
        values.append(down.weight.detach().flatten()[[0, 1, -2, -1]])
    assert len(set(ranks)) > 1, f"{fixture}: rank {rank} is above no convolution's"
    case = CaseFile(fixture, kind, seed=seed, network=f"{scope} rank {rank}")
    case.add("seed", torch.tensor([seed]), "of manual_seed")
    case.add("rank", torch.tensor([rank]), "that was asked for")
    case.add("ranks", torch.tensor(ranks), "that the modules have, in the order they are made")
    case.add("down", torch.stack(values), "the first two and the last two values of each module's lora_down")
    case.write()
    return f"ranks {sorted(set(ranks))}"


# --------------------------------------------------------------------------------------------------- gradients


def loss_and_gradients(unet, lora, multiplier, inputs, target):
    parameters = [tensor.requires_grad_() for tensor in lora.parameters()]
    with applied(unet, (lora, multiplier)):
        prediction = unet(**inputs).sample
    loss = F.mse_loss(prediction, target)
    gradients = torch.autograd.grad(loss, parameters)
    for tensor in parameters:
        tensor.requires_grad_(False)
    return loss.detach(), dict(zip((key for key, _ in lora.named()), gradients))


def check_against_differences(unet, lora, inputs, target, multiplier, gradients, rng):
    """The gradient along one random direction against a central difference; everything in float64."""
    direction = {key: torch.randn(tensor.shape, generator=rng).double() for key, tensor in lora.named()}
    length = sum(tensor.square().sum() for tensor in direction.values()).sqrt()
    direction = {key: tensor / length for key, tensor in direction.items()}
    slope = sum((gradients[key] * direction[key]).sum() for key in gradients).item()

    def loss_at(step):
        names = iter([key for key, _ in lora.named()])
        moved = lora.map(lambda tensor: tensor + step * direction[next(names)])
        with torch.no_grad(), applied(unet, (moved, multiplier)):
            return F.mse_loss(unet(**inputs).sample, target).item()

    step = 1e-5
    difference = (loss_at(step) - loss_at(-step)) / (2 * step)
    assert abs(difference - slope) < 1e-6 * abs(slope), f"autograd {slope}, central difference {difference}"


def check_against_diffusers(fixture, unet, kind, inputs, prediction):
    """diffusers and peft read the adapter's file and must find the same prediction."""
    mixin = StableDiffusionLoraLoaderMixin if "added_cond_kwargs" not in inputs else StableDiffusionXLLoraLoaderMixin
    path = os.path.join(FIXTURES, fixture, kind + ".safetensors")
    state, alphas = mixin.lora_state_dict(path, unet_config=unet.config)[:2]
    unet = copy.deepcopy(unet)
    mixin.load_lora_into_unet(state, alphas, unet)
    with torch.no_grad():
        assert relative_error(unet(**inputs).sample, prediction) < 1e-5, f"diffusers makes something else of {path}"


def add_gradients(case, twin32, twin64, multiplier, rng, smallest, noise):
    """The twins are (U-Net, adapter, inputs, target) in float32 and in float64."""

    def compute(unet, lora, inputs, target):
        return loss_and_gradients(unet, lora, multiplier, inputs, target)

    (loss, gradients), (exact_loss, exact_gradients) = compute(*twin32), compute(*twin64)
    check_against_differences(*twin64, multiplier, exact_gradients, rng)
    case.add("multiplier", torch.tensor([float(multiplier)]), "of the adapter in the gradient case")
    case.add("loss", loss.reshape(1), "mean((prediction - target)^2) at that multiplier", exact=exact_loss.reshape(1))
    largest = max(gradient.norm() for gradient in gradients.values())
    worst = 0.0
    for key, gradient in gradients.items():
        size = gradient.norm()
        assert size > smallest * largest, f"{key}: its gradient, {size:.1e}, is no test beside {largest:.1e}"
        worst = max(worst, ((gradient - exact_gradients[key]).norm() / exact_gradients[key].norm()).item())
        case.add("grad." + key, gradient, may_vanish=True)  # judged by the norm, above
    assert worst < noise, f"{case.path}: float32 gradients are {worst:.1e} from float64"
    meaning = "d loss / d <key> of every tensor of the adapter"
    case.describe("grad.*", f"{meaning} (float64 differs by {worst:.0e} of its norm)")


def lora_cases(
    fixture, unet, kind, scope, rank, alpha, multiplier, shape, second=None, conditions=None, smallest=1e-4, noise=1e-4
):
    """Writes `<kind>.safetensors`, an adapter as programs exchange them, and `<kind>_cases.safetensors`: predictions
    with it and gradients. second: (rank, alpha) of `<kind>2.safetensors`, applied together with the first.
    smallest: of the gradients' norms, relative to the largest; noise: how far float32 may be from float64."""
    seed_name = f"{fixture} {kind}"
    rng = generator(seed_name)
    lora = Lora(unet, scope, rank, alpha, rng)
    lora.save(fixture, kind, f"random {scope} adapter, seed {seed_of(seed_name)}")
    inputs = unet_inputs(unet, rng, *shape, conditions)
    target = torch.randn(inputs["sample"].shape, generator=rng)
    exact_unet, exact_inputs, exact_lora = in_float64(unet), as_float64(inputs), lora.map(torch.Tensor.double)

    case = CaseFile(
        fixture, kind + "_cases", seed=seed_of(seed_name), adapter=kind + ".safetensors", multiplier=multiplier
    )
    add_unet_inputs(case, "", inputs)
    case.add("target", target, "what the prediction is compared with")

    def predictions(name, meaning, *applications):
        """applications: (adapter, its float64 twin, multiplier)."""
        with torch.no_grad(), applied(unet, *((single, at) for single, _, at in applications)):
            prediction = unet(**inputs).sample
        with torch.no_grad(), applied(exact_unet, *((double, at) for _, double, at in applications)):
            exact = exact_unet(**exact_inputs).sample
        assert relative_error(prediction, base) > 0.02 or not applications, f"{name}: the adapter does not show"
        case.add(name, prediction, meaning, exact=exact)

    with torch.no_grad():
        base = unet(**inputs).sample
    predictions("noise_pred.base", "without adapter")
    predictions("noise_pred.plus1", "adapter at multiplier 1", (lora, exact_lora, 1.0))
    predictions("noise_pred.minus0.7", "adapter at multiplier -0.7", (lora, exact_lora, -0.7))
    check_against_diffusers(fixture, unet, kind, inputs, case.tensors["noise_pred.plus1"])
    if second:
        other = Lora(unet, scope, *second, rng)
        other.save(fixture, kind + "2", f"random {scope} adapter, seed {seed_of(seed_name)}, drawn after the first")
        both = (lora, exact_lora, 0.6), (other, other.map(torch.Tensor.double), -0.4)
        predictions("noise_pred.both", f"adapter at 0.6 and {kind}2.safetensors at -0.4", *both)

    twins = (unet, lora, inputs, target), (exact_unet, exact_lora, exact_inputs, target.double())
    add_gradients(case, *twins, multiplier, rng, smallest, noise)
    case.write()
    return f"{len(lora.pairs)} modules"


# ----------------------------------------------------------------------------------------------------------- LoHa


class Loha:
    """LyCORIS's own modules on every layer that an adapter of this scope covers."""

    def __init__(self, unet, scope, rank, alpha, rng):
        self.rank, self.alpha, self.scope, self.modules = rank, float(alpha), scope, {}
        for path in target_modules(unet, scope):
            layer = unet.get_submodule(path)
            module = LohaModule("lora_unet_" + path.replace(".", "_"), layer, 1.0, rank, alpha).train()
            for name, tensor in module.named_parameters():
                # The product of both halves is then about 0.3 of what the layer gives.
                spread = (0.3 * rank / alpha) ** 0.5 / layer.weight[0].numel() ** 0.25 / rank**0.5
                tensor.data.normal_(0, spread if name.endswith("_a") else 1, generator=rng)
                if tensor.dtype != layer.weight.dtype:
                    tensor.data = tensor.data.to(layer.weight.dtype)
            self.modules[path] = module

    def in_float64(self, unet):
        other = object.__new__(Loha)
        other.rank, other.alpha, other.scope, other.modules = self.rank, self.alpha, self.scope, {}
        for path, module in self.modules.items():
            twin = LohaModule(module.lora_name, unet.get_submodule(path), 1.0, self.rank, self.alpha).double().train()
            twin.load_state_dict(module.state_dict())
            other.modules[path] = twin
        return other

    def named(self):
        for module in self.modules.values():
            for name, tensor in module.named_parameters():
                yield f"{module.lora_name}.{name}", tensor

    @contextlib.contextmanager
    def applied(self, multiplier):
        for module in self.modules.values():
            module.multiplier = multiplier
            module.apply_to()
        try:
            yield
        finally:
            for module in self.modules.values():
                module.restore()

    def save(self, fixture, kind, comment):
        file = CaseFile(fixture, kind, comment=comment, scope=self.scope, rank=self.rank, alpha=self.alpha)
        file.recipe.update(
            ss_network_module="lycoris.kohya", ss_network_dim=str(self.rank), ss_network_alpha=str(self.alpha)
        )
        for module in self.modules.values():
            for name, tensor in module.state_dict().items():
                file.add(f"{module.lora_name}.{name}", tensor)
        file.write()


def loha_cases(fixture, unet, kind, scope, rank, alpha, multiplier, shape, gradients=True):
    """As lora_cases, of a LoHa."""
    seed_name = f"{fixture} {kind}"
    rng = generator(seed_name)
    loha = Loha(unet, scope, rank, alpha, rng)
    loha.save(fixture, kind, f"random {scope} LoHa by LyCORIS, seed {seed_of(seed_name)}")
    inputs = unet_inputs(unet, rng, *shape, None)
    target = torch.randn(inputs["sample"].shape, generator=rng)
    exact_unet, exact_inputs = in_float64(unet), as_float64(inputs)
    exact = loha.in_float64(exact_unet)
    case = CaseFile(
        fixture, kind + "_cases", seed=seed_of(seed_name), adapter=kind + ".safetensors", multiplier=multiplier
    )
    add_unet_inputs(case, "", inputs)
    case.add("target", target, "what the prediction is compared with")
    with torch.no_grad():
        base = unet(**inputs).sample
        case.add("noise_pred.base", base, "without adapter", exact=exact_unet(**exact_inputs).sample)
        for name, at in (("plus1", 1.0), ("minus0.7", -0.7)):
            with loha.applied(at), exact.applied(at):
                prediction, twin = unet(**inputs).sample, exact_unet(**exact_inputs).sample
            assert relative_error(prediction, base) > 0.02, f"{name}: the adapter does not show"
            case.add(f"noise_pred.{name}", prediction, f"adapter at multiplier {at}", exact=twin)
    case.add("multiplier", torch.tensor([float(multiplier)]), "of the adapter in the gradient case")
    results = []
    for net, adapter, given, wanted in (unet, loha, inputs, target), (exact_unet, exact, exact_inputs, target.double()):
        with adapter.applied(multiplier):
            loss = F.mse_loss(net(**given).sample, wanted)
        results.append((loss.detach(), torch.autograd.grad(loss, [tensor for _, tensor in adapter.named()])))
    (loss, found), (exact_loss, expected) = results
    case.add("loss", loss.reshape(1), "mean((prediction - target)^2) at that multiplier", exact=exact_loss.reshape(1))
    worst = max(((f - e).norm() / e.norm()).item() for f, e in zip(found, expected))
    assert worst < 1e-4, f"{case.path}: float32 gradients are {worst:.1e} from float64"
    if gradients:
        for (key, _), gradient in zip(loha.named(), found):
            case.add("grad." + key, gradient, may_vanish=True)
        case.describe("grad.*", f"d loss / d <key> of every tensor of the adapter (float64 differs by {worst:.0e})")
    case.write()
    return f"{len(loha.modules)} modules"


# --------------------------------------------------------------------------------------------------- other kinds


def kind_cases(fixture, unet, kind, make, scope, rank, alpha, shape, check, gradients=True):
    """As lora_cases, of an adapter of fixtures_kinds. check(unet, adapter, inputs, target, prediction, gradients, loss)
    holds it to the program that people have such files from."""
    seed_name = f"{fixture} {kind}"
    rng = generator(seed_name)
    adapter = make(unet, scope, rank, alpha, rng)
    adapter.module = "lycoris.kohya"
    adapter.save(fixture, kind, f"random {scope} {make.name}, seed {seed_of(seed_name)}")
    inputs = unet_inputs(unet, rng, *shape, None)
    target = torch.randn(inputs["sample"].shape, generator=rng)
    exact_unet, exact_inputs, exact = in_float64(unet), as_float64(inputs), adapter.map(torch.Tensor.double)
    case = CaseFile(fixture, kind + "_cases", seed=seed_of(seed_name), adapter=kind + ".safetensors")
    add_unet_inputs(case, "", inputs)
    case.add("target", target, "what the prediction is compared with")
    with torch.no_grad():
        base = unet(**inputs).sample
        case.add("noise_pred.base", base, "without adapter", exact=exact_unet(**exact_inputs).sample)
        for name, at in (("plus1", 1.0), ("minus0.7", -0.7)):
            with applied(unet, (adapter, at)), applied(exact_unet, (exact, at)):
                prediction, twin = unet(**inputs).sample, exact_unet(**exact_inputs).sample
            assert relative_error(prediction, base) > 0.02, f"{name}: the adapter does not show"
            case.add(f"noise_pred.{name}", prediction, f"adapter at multiplier {at}", exact=twin)
    loss, found = loss_and_gradients(unet, adapter, 1.0, inputs, target)
    exact_loss, expected = loss_and_gradients(exact_unet, exact, 1.0, exact_inputs, target.double())
    check(unet, adapter, inputs, target, case.tensors["noise_pred.plus1"], found, loss)
    case.add("multiplier", torch.tensor([1.0]), "of the adapter in the gradient case")
    case.add("loss", loss.reshape(1), "mean((prediction - target)^2) at that multiplier", exact=exact_loss.reshape(1))
    worst = max(((found[key] - expected[key]).norm() / expected[key].norm()).item() for key in found)
    assert worst < 1e-4, f"{case.path}: float32 gradients are {worst:.1e} from float64"
    for key, gradient in found.items() if gradients else ():
        case.add("grad." + key, gradient, may_vanish=True)
    case.describe("grad.*", f"d loss / d <key> of every tensor of the adapter (float64 differs by {worst:.0e})")
    case.write()
    return f"{len(adapter.tensors)} modules"


# ------------------------------------------------------------------------------------------------ training runs


class Schedule:
    """DDIM (eta 0, no clipping) as diffusers steps it, with all timesteps shifted by an offset."""

    def __init__(self, config, steps, offset=0):
        scheduler = DDIMScheduler.from_config(config, clip_sample=False)
        scheduler.set_timesteps(steps)
        self.alphas_cumprod = scheduler.alphas_cumprod
        self.final = scheduler.final_alpha_cumprod
        self.stride = scheduler.config.num_train_timesteps // steps
        self.timesteps = [int(t) + offset for t in scheduler.timesteps]
        self.v_prediction = scheduler.config.prediction_type == "v_prediction"
        assert max(self.timesteps) < len(self.alphas_cumprod)

    def step(self, output, t, x):
        previous = t - self.stride
        alpha = self.alphas_cumprod[t].to(x.dtype)
        alpha_previous = (self.alphas_cumprod[previous] if previous >= 0 else self.final).to(x.dtype)
        if self.v_prediction:
            clean = alpha**0.5 * x - (1 - alpha) ** 0.5 * output
            noise = alpha**0.5 * output + (1 - alpha) ** 0.5 * x
        else:
            clean = (x - (1 - alpha) ** 0.5 * output) / alpha**0.5
            noise = output
        return alpha_previous**0.5 * clean + (1 - alpha_previous) ** 0.5 * noise


def check_schedule(config):
    """The step above against diffusers' own, where it has one (no offset)."""
    reference = DDIMScheduler.from_config(config, clip_sample=False)
    reference.set_timesteps(STEPS)
    ours, rng = Schedule(config, STEPS), generator("check schedule")
    x = torch.randn(2, 4, 3, 5, generator=rng)
    for t in ours.timesteps:
        output = torch.randn(x.shape, generator=rng)
        mine, theirs = ours.step(output, t, x), reference.step(output, t, x).prev_sample
        assert relative_error(mine, theirs) < 1e-6
        x = theirs


def denoise(schedule, x, kept, predict):
    """(x, t) after each step count in `kept`; predict(x, t) is the output that the schedule steps by."""
    samples = []
    for index, t in enumerate(schedule.timesteps[: max(kept) + 1]):
        if index in kept:
            samples.append((x, t))
        if index < max(kept):
            x = schedule.step(predict(x, t), t, x)
    return samples


class Run:
    """A few optimizer steps of an erase or enhance run; the same code for float32 and for its float64 check."""

    def __init__(self, unet, lora, schedules, conditions, noises, draws, eta, optimizer, refined=None, learning=None,
                 added=None):
        self.losses, self.steps, self.added = [], [], added
        self.learning, self.gathered, self.average = learning or {}, 0, None
        self.refined, self.schedule, self.norms, self.moved = refined or {}, schedules[0], [], []
        start = [tensor.detach().clone() for tensor in lora.parameters()]
        self.parameters = [tensor.requires_grad_() for tensor in lora.parameters()]
        self.unet, self.lora, self.conditions, self.eta = unet, lora, conditions, eta
        if self.learning.get("optimizer") == "adamwschedulefree":
            self.optimizer = AdamWScheduleFree(self.parameters, **optimizer)
            self.optimizer.train()
        elif self.learning.get("optimizer") == "sgd":
            rate_and_decay = {key: optimizer[key] for key in ("lr", "weight_decay")}
            self.optimizer = torch.optim.SGD(self.parameters, **rate_and_decay)
        else:
            self.optimizer = torch.optim.AdamW(self.parameters, **optimizer)
        if "ema_decay" in self.learning:
            self.average = EMAModel(self.parameters, decay=self.learning["ema_decay"])
        for schedule, noise, kept in zip(schedules, noises, draws):
            for x, t in self.trajectory(schedule, noise, kept):
                self.train(x, t)
            self.moved.append(self.distance(start))
        if self.learning.get("optimizer") == "adamwschedulefree":
            self.optimizer.eval()
        for tensor in self.parameters:
            tensor.requires_grad_(False)
        if self.average:
            self.average.copy_to(self.parameters)

    def distance(self, start):
        """How far what would be saved has moved: the parameters, or their average."""
        now = self.average.shadow_params if self.average else self.parameters
        return torch.cat([(a.detach() - b).flatten().double() for a, b in zip(now, start)]).norm().item()

    def predict(self, x, t, role):
        text = self.conditions[role].expand(x.shape[0], -1, -1)
        added = self.added and {key: value.expand(x.shape[0], -1) for key, value in self.added[role].items()}
        return self.unet(x, torch.full((x.shape[0],), t), text, added_cond_kwargs=added).sample

    @torch.no_grad()
    def trajectory(self, schedule, x, kept):
        """With the adapter on."""

        def guided(x, t):
            unconditional, target = self.predict(x, t, "unconditional"), self.predict(x, t, "target")
            low, high = self.refined.get("guidance_interval", (0, 1000))
            return unconditional + (TRAJECTORY_GUIDANCE if low <= t < high else 1) * (target - unconditional)

        with applied(self.unet, (self.lora, 1.0)):
            return denoise(schedule, x, kept, guided)

    def refine(self, wanted, neutral, x, t):
        """keep_above: the frozen model's own prediction at such timesteps; norm_match: neutral's mean and deviation."""
        if t >= self.refined.get("keep_above", 1000):
            wanted = self.predict(x, t, "target")
        if self.refined.get("norm_match"):
            every = (1, 2, 3)
            centered = (wanted - wanted.mean(every, keepdim=True)) / wanted.std(every, unbiased=False, keepdim=True)
            wanted = centered * neutral.std(every, unbiased=False, keepdim=True) + neutral.mean(every, keepdim=True)
        return wanted

    def weight(self, t):
        """min-SNR, as diffusers' training scripts have it."""
        gamma = self.refined.get("min_snr_gamma")
        if not gamma:
            return 1.0
        alpha = self.schedule.alphas_cumprod[t].double()
        snr = alpha / (1 - alpha)
        least = torch.minimum(snr, torch.tensor(gamma, dtype=torch.float64))
        return (least / (snr + 1 if self.schedule.v_prediction else snr)).item()

    def loss(self, prediction, wanted, t):
        """As sd-scripts' conditional_loss and get_huber_threshold_if_needed have it."""
        kind, c = self.learning.get("loss", "mse"), self.learning.get("huber_c", 0.1)
        if kind == "mse":
            return F.mse_loss(prediction, wanted)
        alpha = self.schedule.alphas_cumprod[t].double().item()
        if self.learning.get("huber_schedule", "snr") == "snr":
            c = (1 - c) / (1 + ((1 - alpha) / alpha) ** 0.5) ** 2 + c
        elif self.learning["huber_schedule"] == "exponential":
            c = math.exp(math.log(c) / 1000 * t)
        difference = torch.sqrt((prediction - wanted) ** 2 + c**2) - c
        return torch.mean((2 * c if kind == "huber" else 2) * difference)

    def train(self, x, t):
        with torch.no_grad():
            positive, neutral, unconditional = (
                self.predict(x, t, role) for role in ("positive", "neutral", "unconditional")
            )
            wanted = self.refine(neutral - self.eta * (positive - unconditional), neutral, x, t)
        with applied(self.unet, (self.lora, 1.0)):
            prediction = self.predict(x, t, "target")
        loss = self.loss(prediction, wanted, t) * self.weight(t)
        wait = self.learning.get("accumulation", 1)
        (loss / wait).backward()
        self.gathered += 1
        if self.gathered == wait:
            if "max_grad_norm" in self.learning:
                norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.learning["max_grad_norm"])
                self.norms.append(norm.item())  # before
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.gathered = 0
            if self.average:
                self.average.step(self.parameters)
        self.losses.append(loss.item())
        self.steps.append(dict(x_t=x, t=t, target=wanted, prediction=prediction.detach()))


def add_steps(case, run, exact):
    for index, (step, twin) in enumerate(zip(run.steps, exact.steps)):
        prefix = f"step{index}."
        case.add(prefix + "timestep", torch.tensor([step["t"]]), "of x_t", may_vanish=True)
        case.add(prefix + "x_t", step["x_t"], "the kept latents", exact=twin["x_t"])
        case.add(prefix + "target", step["target"], "the teacher's weighted sum", exact=twin["target"])
        case.add(
            prefix + "prediction", step["prediction"], "the student's, before the update", exact=twin["prediction"]
        )


def add_losses(case, run, exact):
    case.add(
        "losses",
        torch.tensor(run.losses),
        "one an optimizer step, each before its update",
        exact=torch.tensor(exact.losses).double(),
    )


def add_adapters(case, initial, lora, exact_lora):
    worst = 0.0
    for (key, start), (_, end), (_, twin) in zip(initial.named(), lora.named(), exact_lora.named()):
        case.add("init." + key, start, may_vanish=key.endswith(lora.zero))
        stays = torch.equal(start, end)  # what is 0, and nothing reads
        case.add("final." + key, end, may_vanish=stays)
        worst = worst if stays else max(worst, ((end - twin).norm() / (twin - start).norm()).item())
    case.describe("init.*", "the adapter before the run, as in an adapter's file")
    case.describe("final.*", f"and after it (worst tensor: float64 differs by {worst:.0e} of the change's norm)")
    return worst


def xl_conditions(tokenizer, text_encoder, tokenizer_2, text_encoder_2, prompts, shape):
    """As StableDiffusionXLPipeline's encode_prompt has them: the states before each encoder's last layer side by side; the
    second's pooled vector; the size before and after cropping, and where that begins. Pictures have four times the size."""
    conditions, added = {}, {}
    for role, prompt in prompts.items():
        first = text_encoder(tokenize(tokenizer, [prompt]), output_hidden_states=True)
        other = text_encoder_2(tokenize(tokenizer_2, [prompt]), output_hidden_states=True)
        conditions[role] = torch.cat([first.hidden_states[-2], other.hidden_states[-2]], -1)
        height, width = 4 * shape[1], 4 * shape[2]
        sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)
        added[role] = dict(text_embeds=other.text_embeds, time_ids=sizes)
    return conditions, added


def curve(
    fixture,
    kind,
    tokenizer,
    text_encoder,
    unet,
    config,
    prompts,
    eta,
    shape,
    draws,
    offsets=None,
    lr=2e-3,
    rank=4,
    alpha=1.0,
    weight_decay=0.01,
    refined=None,
    learning=None,
    make=Lora,
    scope="lierla",
    second=None,
    states=True,
):
    """Writes `<kind>.safetensors`. eta > 0 erases, eta < 0 enhances. shape: (batch, height, width) of the latents.
    draws: for each trajectory the step counts (ascending) whose latents are trained on. offsets: one a trajectory. refined: what differs from a plain target. learning: what differs from a plain AdamW step on the
    mean squared error of each latent: optimizer, accumulation, ema_decay, max_grad_norm, loss, huber_c, huber_schedule.
    second: the second tokenizer and text encoder of Stable Diffusion XL. states: whether to write each step's latent, target
    and prediction; a long run has how far it moved, trajectory by trajectory, instead."""
    check_schedule(config)
    seed_name = f"{fixture} {kind}"
    rng = generator(seed_name)
    offsets = offsets or [0] * len(draws)
    lora = make(unet, scope, rank, alpha, rng, fresh=True)
    initial = lora.map(torch.Tensor.clone)
    noises = [torch.randn(shape[0], 4, *shape[1:], generator=rng) for _ in draws]
    roles = list(prompts)
    input_ids = tokenize(tokenizer, [prompts[role] for role in roles])
    if second:
        conditions, added = xl_conditions(tokenizer, text_encoder, *second, prompts, shape)
    else:
        conditions, added = dict(zip(roles, text_encoder(input_ids).last_hidden_state.split(1))), None
    schedules = [Schedule(config, STEPS, offset) for offset in offsets]
    optimizer = dict(lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=weight_decay)

    both = (refined, learning, added)
    run = Run(unet, lora, schedules, conditions, noises, draws, eta, optimizer, *both)
    exact_lora, exact_noises = initial.map(torch.Tensor.double), [noise.double() for noise in noises]
    exact_conditions = as_float64(conditions)
    widened = (refined, learning, as_float64(added))
    exact = Run(in_float64(unet), exact_lora, schedules, exact_conditions, exact_noises, draws, eta, optimizer, *widened)
    still = Run(unet, initial, schedules, conditions, noises, draws, eta, dict(optimizer, lr=0.0), *both).losses[-1]
    change = abs(run.losses[-1] / still - 1)
    assert change > 0.05, f"{seed_name}: training changes the last loss by {change:.1e}, hardly a test"
    clipped = [norm > learning["max_grad_norm"] for norm in run.norms]
    assert not clipped or len(clipped) > sum(clipped) > 0.6 * len(clipped), f"{seed_name}: gradients of {run.norms}"

    sgd = (learning or {}).get("optimizer") == "sgd"
    case = CaseFile(
        fixture,
        kind,
        seed=seed_of(seed_name),
        prompts=prompts,
        guidance_scale=eta,
        denoising_steps=STEPS,
        lr=lr,
        trajectory_guidance=TRAJECTORY_GUIDANCE,
        optimizer="SGD" if sgd else "AdamW betas 0.9 0.999 eps 1e-8",
        weight_decay=weight_decay,
        network=f"{scope} rank {rank} alpha {alpha}",
        **{key: str(value) for key, value in getattr(make, "rates", {}).items()},
        **({} if make is Lora and scope == "lierla" else dict(scope=scope, network_kind=make.name)),
        kept_steps=draws,
        timestep_offsets=offsets,
        prediction_type="v_prediction" if schedules[0].v_prediction else "epsilon",
        final_alpha_cumprod=float(schedules[0].final),
        loss="mean((student(x_t, t, target) - (neutral - guidance_scale * (positive - unconditional)))^2)",
    )
    for index, role in enumerate(roles):
        case.add(f"input_ids.{role}", input_ids[index : index + 1], f"of {prompts[role]!r}")
        case.add(f"encoder_hidden_states.{role}", conditions[role], f"of {prompts[role]!r}")
    settings = {
        "eta": (float(eta), "guidance_scale; negative enhances"),
        "lr": (lr, "learning rate"),
        "weight_decay": (weight_decay, "of AdamW"),
        "rank": (rank, "of the adapter"),
        "alpha": (float(alpha), "of the adapter"),
        "denoising_steps": (STEPS, "S"),
    }
    for name, value in (learning or {}).items():
        if isinstance(value, str):
            case.recipe["learning." + name] = value
        else:
            case.add(name, torch.tensor([float(value)]), "as the config's key")
    for name, value in (refined or {}).items():
        case.add(name, torch.tensor(value).float().flatten(), "as the config's key")
    for name, (value, meaning) in settings.items():
        case.add(name, torch.tensor([value]), meaning)
    case.add("timesteps", torch.tensor(Schedule(config, STEPS).timesteps), "of the S steps, before the offset")
    case.add("offsets", torch.tensor(offsets), "added to every timestep, one a trajectory")
    meaning = "[trajectories, samples_per_trajectory]: steps done before each kept latent"
    case.add("kept_steps", torch.tensor(draws), meaning)
    for index, noise in enumerate(noises):
        case.add(f"trajectory{index}.noise", noise, "latents that the trajectory starts from")
    if states:
        add_steps(case, run, exact)
    else:
        meaning = "norm of the change of what would be saved, after each trajectory"
        case.add("moved", torch.tensor(run.moved), meaning, exact=torch.tensor(exact.moved).double())
    add_losses(case, run, exact)
    worst = add_adapters(case, initial, lora, exact_lora)
    case.write()
    return "losses " + " ".join(f"{loss:.4f}" for loss in run.losses) + f", final tensors within {worst:.0e} of float64"
