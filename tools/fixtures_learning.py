"""How parameters move: optimizers by their own packages, on given gradients; learning rates by torch and transformers."""

import dadaptation
import prodigyopt
import schedulefree
import torch
import transformers
from lion_pytorch import Lion
from torch.optim import lr_scheduler

from fixtures_common import CaseFile, generator, seed_of

STEPS = 24

# A vector, a matrix, and what a 1x1 convolution and one of 2x3 would have.
SHAPES = [(3,), (3, 2), (2, 3, 1, 1), (2, 1, 2, 3)]

# Name -> class and options. A name that ends with _warm has learning rates that rise from 0 and fall again.
OPTIMIZERS = {
    "adamw": (torch.optim.AdamW, dict(lr=1e-2)),
    "adamw_options": (torch.optim.AdamW, dict(lr=3e-3, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)),
    "adam": (torch.optim.Adam, dict(lr=1e-2)),
    "adam_decay": (torch.optim.Adam, dict(lr=1e-2, weight_decay=0.05)),
    "sgd": (torch.optim.SGD, dict(lr=0.01)),
    "sgd_momentum": (torch.optim.SGD, dict(lr=0.01, momentum=0.9)),
    "sgd_decay": (torch.optim.SGD, dict(lr=0.01, momentum=0.9, weight_decay=0.05)),
    "lion": (Lion, dict(lr=1e-2)),
    "lion_options": (Lion, dict(lr=3e-3, betas=(0.8, 0.95), weight_decay=0.1)),
    "prodigy": (prodigyopt.Prodigy, dict(lr=1.0, d0=1e-4)),
    "prodigy_warm": (prodigyopt.Prodigy, dict(lr=1.0, d0=1e-4)),
    "prodigy_options": (
        prodigyopt.Prodigy,
        dict(
            lr=0.8, betas=(0.8, 0.95), beta3=0.9, eps=1e-6, weight_decay=0.1, use_bias_correction=True,
            safeguard_warmup=True, d0=1e-3, d_coef=2.0, growth_rate=1.3,
        ),
    ),
    "prodigy_coupled": (prodigyopt.Prodigy, dict(lr=0.3, betas=(0.0, 0.99), weight_decay=0.2, decouple=False, d0=1e-3)),
    "prodigy_sliced": (prodigyopt.Prodigy, dict(lr=1.0, d0=1e-3, slice_p=5)),
    "dadaptadam": (dadaptation.DAdaptAdam, dict(lr=1.0)),
    "dadaptadam_warm": (dadaptation.DAdaptAdam, dict(lr=0.5, d0=1e-4, weight_decay=0.1)),
    "dadaptadam_options": (
        dadaptation.DAdaptAdam,
        dict(
            lr=0.7, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1, decouple=True, use_bias_correction=True, d0=1e-3,
            growth_rate=1.2,
        ),
    ),
    "dadaptlion": (dadaptation.DAdaptLion, dict(lr=1.0)),
    "dadaptlion_warm": (dadaptation.DAdaptLion, dict(lr=1.0, betas=(0.8, 0.95), weight_decay=0.1, d0=1e-3)),
    "adafactor": (transformers.Adafactor, dict()),
    "adafactor_init": (transformers.Adafactor, dict(warmup_init=True, weight_decay=0.1, beta1=0.9)),
    "adafactor_warm": (transformers.Adafactor, dict(lr=1e-2, relative_step=False, scale_parameter=False)),
    "adafactor_options": (
        transformers.Adafactor,
        dict(lr=0.05, relative_step=False, eps=(1e-12, 1e-1), clip_threshold=0.5, decay_rate=-0.5, weight_decay=0.01),
    ),
    "schedulefree": (schedulefree.AdamWScheduleFree, dict(lr=1e-2)),
    "schedulefree_warm": (schedulefree.AdamWScheduleFree, dict(lr=1e-2, weight_decay=0.1)),
    "schedulefree_options": (
        schedulefree.AdamWScheduleFree,
        dict(lr=3e-3, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1, warmup_steps=6, r=1.0, weight_lr_power=1.0),
    ),
}


def rates(name, lr):
    """Of each step. In float32, so that both sides have the very same number."""
    factors = torch.ones(STEPS)
    if name.endswith("_warm"):
        factors = torch.minimum(torch.arange(STEPS) / 6, (STEPS - torch.arange(STEPS)) / (STEPS - 6))
    return (factors * (1.0 if lr is None else lr)).float()


def run(name, start, gradients, dtype):
    """Parameters after each step; of a schedule-free one also what it would evaluate."""
    make, options = OPTIMIZERS[name]
    parameters = [part.to(dtype).clone().requires_grad_() for part in start]
    optimizer, states, averages = make(parameters, **options), [], []
    free = name.startswith("schedulefree")
    if free:
        optimizer.train()
    for gradient, rate in zip(gradients, rates(name, options.get("lr"))):
        for parameter, part in zip(parameters, gradient):
            parameter.grad = part.to(dtype).clone()
        if options.get("lr") is not None:
            optimizer.param_groups[0]["lr"] = rate.item()
        optimizer.step()
        states.append(flat(parameters))
        if free:
            kept = [parameter.detach().clone() for parameter in parameters]
            optimizer.eval()
            averages.append(flat(parameters))
            optimizer.train()
            for parameter, value in zip(parameters, kept):  # back to the bit, as a training that goes on is
                parameter.data.copy_(value)
    return torch.stack(states), torch.stack(averages) if free else None


def flat(parts):
    return torch.cat([part.detach().flatten() for part in parts])


def optimizer_cases():
    case = CaseFile("optimizer", "optimizer", seed=seed_of("optimizer"), shapes=SHAPES)
    rng = generator("optimizer")
    start = [0.1 * torch.randn(shape, generator=rng) for shape in SHAPES]
    start[1].zero_()  # as a LoRA's up
    count = sum(part.numel() for part in start)
    # Of very different sizes, with a direction that stays for a while, so that estimates of the rate grow, but not
    # without end: those of Prodigy are sums of differences between parameters, and rounding is all that they see of
    # small ones.
    steady, sizes = torch.randn(count, generator=rng), torch.logspace(-6, 1, count)[torch.randperm(count, generator=rng)]
    turning = torch.cos(torch.arange(STEPS) * (torch.pi / 10)).unsqueeze(1)
    all_gradients = (steady * turning + 0.3 * torch.randn(STEPS, count, generator=rng)) * sizes
    all_gradients[2, 0] = all_gradients[0, 3] = 0.0
    all_gradients[:, 7] = 0.0
    lengths = [part.numel() for part in start]
    gradients = [
        [part.reshape(shape) for part, shape in zip(row.split(lengths), SHAPES)] for row in all_gradients
    ]
    case.add("start", flat(start), "the parameters, one after the other")
    case.add("gradients", all_gradients, f"[{STEPS},{count}] one row a step")
    for name, (make, options) in OPTIMIZERS.items():
        states, averages = run(name, start, gradients, torch.float32)
        twin, _ = run(name, start, gradients, torch.float64)
        if name.endswith("_warm"):
            case.add(f"{name}.lr", rates(name, options["lr"]), "of each step", may_vanish=True)
        meaning = f"[{STEPS},{count}] after every step: {make.__module__.split('.')[0]} {make.__name__} {options}"
        case.add(f"{name}.parameters", states, meaning, exact=twin)
        noise = (states.double() - twin).abs().amax(0).float()
        case.add(f"{name}.noise", noise, "how far the worst of each is from float64", may_vanish=True)
        if averages is not None:
            case.add(f"{name}.averages", averages, "and in eval mode")
    case.write()


# ------------------------------------------------------------------------------------------------- learning rates


def learning_rate_cases():
    """What p1atdev's trainer makes of its names (cosine, cosine_with_restarts, step), and transformers of the others."""
    case = CaseFile("optimizer", "learning_rates", seed=0)
    lr, get = 0.25, transformers.get_scheduler
    for total in (7, 60, 250):
        for warmup in (0, 5):
            rest = total - warmup
            schedules = {
                "constant_with_warmup": lambda o: get("constant_with_warmup", o, warmup),
                "linear": lambda o: get("linear", o, warmup, total),
                "polynomial": lambda o: get("polynomial", o, warmup, total, dict(power=2.5)),
            }
            theirs = {
                "constant": lambda o: lr_scheduler.ConstantLR(o, factor=1),
                "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=rest, eta_min=lr / 100),
                "cosine_with_restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(
                    o, T_0=max(1, rest // 10), T_mult=2, eta_min=lr / 100
                ),
                "step": lambda o: lr_scheduler.StepLR(o, step_size=max(1, rest // 100), gamma=0.999),
            }
            for name, make in {**schedules, **theirs}.items():
                optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
                # theirs have no warm-up: leco's comes before all of them, and leaves them the steps behind it.
                found = [lr * i / warmup for i in range(warmup)] if name in theirs else []
                schedule = make(optimizer)
                while len(found) < total:
                    found.append(optimizer.param_groups[0]["lr"])
                    optimizer.step()
                    schedule.step()
                case.add(f"{name}.{total}.{warmup}", torch.tensor(found, dtype=torch.float64))
    case.describe("<name>.<steps>.<warmup>", f"F64 [steps] the rate of each step, lr {lr}; polynomial of power 2.5")
    case.write()
