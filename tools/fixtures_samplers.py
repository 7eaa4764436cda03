"""Whole runs of diffusers' schedulers: every sampler, spacing and prediction, from noise to a clean latent."""

import sys
from unittest.mock import patch

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LMSDiscreteScheduler,
    UniPCMultistepScheduler,
)

from fixtures_common import CaseFile, relative_error, seed_of
from fixtures_models import SCHEDULE

SHAPE = (1, 4, 2, 2)
STEPS = (5, 12, 20)
SPACINGS = ("leading", "linspace", "trailing")
PREDICTIONS = ("epsilon", "v_prediction")
STEPS_OFFSET = 1

# leco's name: diffusers' class, its options. All other options are the class's defaults.
SAMPLERS = {
    "ddim": (DDIMScheduler, dict(clip_sample=False, set_alpha_to_one=False)),
    "ddpm": (DDPMScheduler, dict(clip_sample=False)),
    "lms": (LMSDiscreteScheduler, {}),
    "euler": (EulerDiscreteScheduler, {}),
    "euler_a": (EulerAncestralDiscreteScheduler, {}),
    "dpmpp_2m": (DPMSolverMultistepScheduler, {}),
    "dpmpp_2m_sde": (DPMSolverMultistepScheduler, dict(algorithm_type="sde-dpmsolver++")),
    "heun": (HeunDiscreteScheduler, {}),
    "uni_pc": (UniPCMultistepScheduler, {}),
}
KARRAS = ("lms", "euler", "dpmpp_2m", "dpmpp_2m_sde", "heun", "uni_pc")  # diffusers' others have no such option
ZERO_SNR = ("ddim", "ddpm", "euler", "euler_a", "dpmpp_2m", "dpmpp_2m_sde", "uni_pc")
NOISY = ("ddpm", "euler_a", "dpmpp_2m_sde")


def model(x_t, t):
    """What stands for a U-Net: it must tell the right x_t and t from others, and C must be able to compute it."""
    phase = torch.arange(x_t.numel(), dtype=torch.float64).reshape(x_t.shape)
    return 0.9 * x_t + (0.3 * torch.sin(0.01 * float(t) + phase)).to(x_t.dtype)


def exact_run(scheduler, steps, seed, noisy):
    """The same in float64. Where sigma is 4096 float32 can't hold x and what comes of it together, and diffusers' own
    runs are noise from the fifth digit on."""

    def randn(shape, generator, device, dtype):
        return torch.randn(shape, generator=generator).to(device, dtype)

    set_timesteps = scheduler.set_timesteps

    def set_exact_timesteps(steps):
        set_timesteps(steps)
        if hasattr(scheduler, "sigmas"):
            scheduler.sigmas = scheduler.sigmas.double()

    here = sys.modules[type(scheduler).__module__]
    with (
        patch.object(scheduler, "set_timesteps", set_exact_timesteps),
        patch.object(torch, "float32", torch.float64),  # which some of them cast the sample to
        patch.object(here, "randn_tensor", randn) if noisy else patch.object(here, "torch", torch),
    ):
        return run(scheduler, steps, seed, noisy, torch.float64)


def run(scheduler, steps, seed, noisy, dtype=torch.float32):
    """[runs + 1, 1 + elements]: each timestep and the x_t that the model sees; a 0 and what comes out at the end."""
    rng = torch.Generator().manual_seed(seed)
    scheduler.set_timesteps(steps)
    x = torch.randn(SHAPE, generator=rng).to(dtype) * scheduler.init_noise_sigma
    rows = []
    for t in scheduler.timesteps:
        x_t = scheduler.scale_model_input(x, t)
        rows.append(torch.cat([t.to(dtype).reshape(1), x_t.flatten()]))
        more = dict(generator=rng) if noisy else {}
        x = scheduler.step(model(x_t, t), t, x, **more).prev_sample
    rows.append(torch.cat([torch.zeros(1, dtype=dtype), x.flatten()]))
    assert all(row.dtype == dtype for row in rows)
    return torch.stack(rows)


def sampler_cases():
    seed = seed_of("samplers") % 2**31
    case = CaseFile("samplers", "samplers", betas=SCHEDULE, steps_offset=STEPS_OFFSET, seed=seed)
    case.add("seed", torch.tensor([seed]), "of torch's CPU generator: the noise at the start, then that of the steps")
    worst = {}  # how far diffusers' float32 runs are from these
    for name, (scheduler, options) in SAMPLERS.items():
        kinds = [("plain", spacing, prediction) for spacing in SPACINGS for prediction in PREDICTIONS]
        if name in KARRAS:  # the multistep solvers' Karras sigmas know no spacing
            spacings = SPACINGS if name in ("lms", "euler", "heun") else SPACINGS[:1]
            kinds += [("karras", spacing, prediction) for spacing in spacings for prediction in PREDICTIONS]
        if name in ZERO_SNR:
            kinds += [("zero", spacing, "v_prediction") for spacing in SPACINGS]
        for kind, spacing, prediction in kinds:
            more = dict(options, timestep_spacing=spacing, prediction_type=prediction, steps_offset=STEPS_OFFSET)
            if kind == "karras":
                more["use_karras_sigmas"] = True
            if kind == "zero":
                more["rescale_betas_zero_snr"] = True
            for steps in STEPS:
                plain = run(scheduler(**SCHEDULE, **more), steps, seed, name in NOISY)
                exact = exact_run(scheduler(**SCHEDULE, **more), steps, seed, name in NOISY)
                noise = relative_error(plain[:, 1:], exact[:, 1:])
                worst[kind] = max(worst.get(kind, (0, None)), (noise, f"{name}.{spacing}.{prediction}.{steps}"))
                case.add(f"{name}.{kind}.{spacing}.{prediction}.{steps}", exact.float())
    print({kind: f"{noise:.0e} {where}" for kind, (noise, where) in worst.items()})
    zero = DDIMScheduler(**SCHEDULE, rescale_betas_zero_snr=True)
    case.add("zero.alphas_cumprod", zero.alphas_cumprod, "float32, of rescaled betas")
    case.describe(
        "<sampler>.<kind>.<spacing>.<prediction>.<S>",
        "[runs + 1, 17] a whole run of S steps: timestep and the x_t [1,4,2,2] that the model sees; at last 0 and x. "
        "Kinds: plain, karras (use_karras_sigmas), zero (rescale_betas_zero_snr)",
    )
    case.write()
