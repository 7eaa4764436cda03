"""Whole runs of diffusers' schedulers: all that leco can be asked for, from noise to a clean latent.

That is every sampler with every spacing and prediction, as it is ("plain"), with Karras' sigmas ("karras"), with betas
of zero terminal SNR ("zero"; v-prediction only, as leco refuses epsilon there) and with both ("zero_karras"); of leading
spacing, which alone knows of steps_offset, with an offset of 1 and of 0 ("..._offset0").

Two of these are in none of diffusers' classes; what they are is put together of its own parts:

- EulerAncestralDiscreteScheduler has no use_karras_sigmas: it steps on the sigmas and timesteps that
  EulerDiscreteScheduler has with it. (So does k-diffusion's sample_euler_ancestral with get_sigmas_karras.)
- LMSDiscreteScheduler and HeunDiscreteScheduler have no rescale_betas_zero_snr: they are given the alphas_cumprod that
  EulerDiscreteScheduler has with it, 2^-24 instead of the 0 at the end among them.

DDIM and DDPM know no sigmas: Karras' aren't for them, in diffusers nor in leco, which refuses them. Karras' sigmas of
the multistep solvers depend on no spacing; leco must have the same there, too, whatever spacing it is asked for.
"""

import inspect
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
SOME_STEPS = STEPS[1:2]  # of what says little that is new, so that the file stays small

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
WHOLE = ("ddim", "ddpm")  # which step on timesteps, not on sigmas
MULTISTEP = ("dpmpp_2m", "dpmpp_2m_sde", "uni_pc")
NOISY = ("ddpm", "euler_a", "dpmpp_2m_sde")


def make(name, kind, spacing, prediction):
    """A scheduler; what its class has no option for it takes from Euler's."""
    scheduler_class, options = SAMPLERS[name]
    offset = 0 if kind.endswith("offset0") else STEPS_OFFSET
    common = dict(SCHEDULE, timestep_spacing=spacing, prediction_type=prediction, steps_offset=offset)
    asked = dict(use_karras_sigmas="karras" in kind, rescale_betas_zero_snr="zero" in kind)
    known = inspect.signature(scheduler_class.__init__).parameters
    scheduler = scheduler_class(**common, **options, **{key: value for key, value in asked.items() if key in known})
    lacking = [key for key, value in asked.items() if value and key not in known]
    euler = EulerDiscreteScheduler(**common, **asked)
    if "rescale_betas_zero_snr" in lacking:
        scheduler.alphas_cumprod = euler.alphas_cumprod
    if "use_karras_sigmas" in lacking:
        take_sigmas(scheduler, euler)
    return scheduler


def take_sigmas(scheduler, euler):
    """From now on, whenever its timesteps are set."""
    set_timesteps = scheduler.set_timesteps

    def set_other_timesteps(steps):
        set_timesteps(steps)
        euler.set_timesteps(steps)
        scheduler.sigmas, scheduler.timesteps = euler.sigmas, euler.timesteps

    scheduler.set_timesteps = set_other_timesteps


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


def kinds_of(name):
    """(kind, spacing, prediction, numbers of steps) of all its runs."""
    grids = ("plain",) if name in WHOLE else ("plain", "karras")
    for grid in grids:
        zero = "zero" if grid == "plain" else "zero_karras"
        for spacing in SPACINGS:
            same = grid == "karras" and name in MULTISTEP and spacing != SPACINGS[0]
            for prediction in PREDICTIONS:
                yield grid, spacing, prediction, SOME_STEPS if same else STEPS
            yield zero, spacing, "v_prediction", STEPS if zero == "zero" else SOME_STEPS
        for prediction in PREDICTIONS:
            yield f"{grid}_offset0", "leading", prediction, SOME_STEPS
        yield f"{zero}_offset0", "leading", "v_prediction", SOME_STEPS


def sampler_cases():
    seed = seed_of("samplers") % 2**31
    case = CaseFile("samplers", "samplers", betas=SCHEDULE, steps_offset=STEPS_OFFSET, seed=seed)
    case.add("seed", torch.tensor([seed]), "of torch's CPU generator: the noise at the start, then that of the steps")
    worst = {}  # how far diffusers' float32 runs are from these
    for name in SAMPLERS:
        for kind, spacing, prediction, all_steps in kinds_of(name):
            for steps in all_steps:
                case_name = f"{name}.{kind}.{spacing}.{prediction}.{steps}"
                plain = run(make(name, kind, spacing, prediction), steps, seed, name in NOISY)
                exact = exact_run(make(name, kind, spacing, prediction), steps, seed, name in NOISY)
                noise = relative_error(plain[:, 1:], exact[:, 1:])
                worst[kind] = max(worst.get(kind, (0, None)), (noise, case_name))
                case.add(case_name, exact.float())
    print({kind: f"{noise:.0e} {where}" for kind, (noise, where) in worst.items()})
    zero = DDIMScheduler(**SCHEDULE, rescale_betas_zero_snr=True)
    case.add("zero.alphas_cumprod", zero.alphas_cumprod, "float32, of rescaled betas")
    case.describe(
        "<sampler>.<kind>.<spacing>.<prediction>.<S>",
        "[runs + 1, 17] a whole run of S steps: timestep and the x_t [1,4,2,2] that the model sees; at last 0 and x. "
        "Kinds: plain, karras (use_karras_sigmas), zero (rescale_betas_zero_snr), zero_karras; ..._offset0: of "
        "steps_offset 0. Of euler_a's karras, of lms' and heun's zero the sigmas are EulerDiscreteScheduler's",
    )
    case.write()
