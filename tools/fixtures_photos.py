"""Short training runs on photographs: the noise that was added as the target, and sliders of picture pairs."""

import torch
from diffusers import DDPMScheduler
from torch.nn import functional as F

from fixtures_common import CaseFile, as_float64, generator, in_float64, relative_error, seed_of
from fixtures_lora import Lora, add_adapters, applied
from fixtures_models import tokenize


def draw_pictures(count, side, rng):
    """Soft colours, whole numbers of 0 to 255: [count,3,side,side]."""
    coarse = torch.randn(count, 3, 4, 4, generator=rng)
    fine = F.interpolate(coarse, (side, side), mode="bicubic", align_corners=False)
    return (127.5 + 70 * fine).clamp(0, 255).round()


def latents_of(vae, pictures):
    return vae.encode(pictures / 127.5 - 1).latent_dist.mean * vae.config.scaling_factor


class Noising:
    """x_t and what is to be predicted of it, in the dtype of what is given."""

    def __init__(self, config):
        self.scheduler = DDPMScheduler.from_config(config)
        self.v_prediction = self.scheduler.config.prediction_type == "v_prediction"

    def parts(self, t, like):
        alpha = self.scheduler.alphas_cumprod[t].to(like.dtype)
        return alpha**0.5, (1 - alpha) ** 0.5

    def add(self, clean, noise, t):
        signal, rest = self.parts(t, clean)
        return signal * clean + rest * noise

    def target(self, clean, noise, t):
        signal, rest = self.parts(t, clean)
        return signal * noise - rest * clean if self.v_prediction else noise

    def check(self, rng):
        clean, noise = torch.randn(1, 4, 3, 5, generator=rng), torch.randn(1, 4, 3, 5, generator=rng)
        for t in (0, 400, 999):
            at = torch.tensor([t])
            assert relative_error(self.add(clean, noise, t), self.scheduler.add_noise(clean, noise, at)) < 1e-6
            velocity = self.scheduler.get_velocity(clean, noise, at)
            assert not self.v_prediction or relative_error(self.target(clean, noise, t), velocity) < 1e-6


class PhotoRun:
    """A few optimizer steps; the same code for float32 and for its float64 check.

    clean: latents [n,4,h,w], or a list of two of them where they are pairs. passes: (pictures, timesteps) each, with a
    noise [B,4,h,w]; a step at each timestep."""

    def __init__(self, unet, lora, noising, clean, conditions, noises, passes, setting):
        self.losses, self.steps = [], []
        self.unet, self.lora, self.noising, self.setting = unet, lora, noising, setting
        self.parameters = [tensor.requires_grad_() for tensor in lora.parameters()]
        self.optimizer = torch.optim.AdamW(self.parameters, **setting["optimizer"])
        for noise, (pictures, timesteps) in zip(noises, passes):
            for t in timesteps:
                text = conditions[pictures] if len(conditions) > 1 else conditions.expand(len(pictures), -1, -1)
                learn = self.pairs if isinstance(clean, list) else self.noise
                self.train(learn(clean, text, noise, pictures, t))
        for tensor in self.parameters:
            tensor.requires_grad_(False)

    def predict(self, x, t, text):
        return self.unet(x, torch.full((x.shape[0],), t), text).sample

    def student(self, x, t, text, multiplier):
        with applied(self.unet, (self.lora, multiplier)):
            return self.predict(x, t, text)

    def noise(self, clean, text, noise, pictures, t):
        x, wanted = (make(clean[pictures], noise, t) for make in (self.noising.add, self.noising.target))
        self.steps.append(dict(x_t=x, target=wanted))
        return F.mse_loss(self.student(x, t, text, 1.0), wanted)

    def pairs(self, clean, text, noise, pictures, t):
        """ADDifT: what the frozen model says of the one picture is what the student is to say of the other."""
        before, after = (self.noising.add(each[pictures], noise, t) for each in clean)
        scale, multiplier = self.setting["guidance_scale"], self.setting["multiplier"]
        with torch.no_grad():
            of_before, of_after = self.predict(before, t, text), self.predict(after, t, text)
        first, second = of_after + scale * (of_before - of_after), of_before + scale * (of_after - of_before)
        self.steps.append(dict(x_t=torch.stack([before, after]), target=torch.stack([first, second])))
        forwards = F.mse_loss(self.student(after, t, text, multiplier), first)
        return forwards + F.mse_loss(self.student(before, t, text, -multiplier), second)

    def train(self, loss):
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.losses.append(loss.item())


def photo_curve(
    fixture,
    kind,
    tokenizer,
    text_encoder,
    unet,
    vae,
    config,
    prompts,
    passes,
    paired=False,
    side=32,
    lr=2e-3,
    rank=4,
    alpha=1.0,
    multiplier=1.0,
    guidance_scale=1.0,
):
    """Writes `<kind>.safetensors`. prompts: one a picture, or one for all pairs. passes: (pictures, timesteps) each."""
    seed_name = f"{fixture} {kind}"
    rng = generator(seed_name)
    lora = Lora(unet, "lierla", rank, alpha, rng, fresh=True)
    initial = lora.map(torch.Tensor.clone)
    count, batch = 1 + max(max(pictures) for pictures, _ in passes), len(passes[0][0])
    sets = [draw_pictures(count, side, rng) for _ in range(2 if paired else 1)]
    exact_vae = in_float64(vae)
    with torch.no_grad():
        clean = [latents_of(vae, each) for each in sets]
        exact_clean = [latents_of(exact_vae, each.double()) for each in sets]
    noises = [torch.randn(batch, *clean[0].shape[1:], generator=rng) for _ in passes]
    input_ids = tokenize(tokenizer, prompts)
    conditions = text_encoder(input_ids).last_hidden_state
    noising = Noising(config)
    noising.check(rng)
    optimizer = dict(lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    setting = dict(optimizer=optimizer, multiplier=multiplier, guidance_scale=guidance_scale)
    pick = (lambda latents: latents) if paired else (lambda latents: latents[0])

    run = PhotoRun(unet, lora, noising, pick(clean), conditions, noises, passes, setting)
    exact_lora = initial.map(torch.Tensor.double)
    exact_noises, exact_conditions = [noise.double() for noise in noises], as_float64(dict(all=conditions))["all"]
    exact = PhotoRun(
        in_float64(unet), exact_lora, noising, pick(exact_clean), exact_conditions, exact_noises, passes, setting
    )
    still = dict(setting, optimizer=dict(optimizer, lr=0.0))
    last = PhotoRun(unet, initial, noising, pick(clean), conditions, noises, passes, still).losses[-1]
    change = abs(run.losses[-1] / last - 1)
    assert change > 0.01, f"{seed_name}: training changes the last loss by {change:.1e}, hardly a test"

    case = CaseFile(
        fixture,
        kind,
        seed=seed_of(seed_name),
        prompts=prompts,
        lr=lr,
        optimizer="AdamW betas 0.9 0.999 eps 1e-8",
        weight_decay=0.01,
        network=f"lierla rank {rank} alpha {alpha}",
        passes=passes,
        prediction_type="v_prediction" if noising.v_prediction else "epsilon",
        loss="mean((student(x_after; m) - (frozen(x_after) + g (frozen(x_before) - frozen(x_after))))^2) + its mirror image"
        if paired
        else "mean((student(x_t, t, caption) - noise)^2), or v of it",
    )
    for name, each, latents, twins in zip(("before", "after") if paired else ("all",), sets, clean, exact_clean):
        case.add(f"pictures.{name}", each, "0 to 255")
        case.add(f"latents.{name}", latents, "mean times scaling_factor", exact=twins)
    settings = {
        "lr": lr,
        "weight_decay": 0.01,
        "rank": rank,
        "alpha": float(alpha),
        "multiplier": multiplier,
        "guidance_scale": guidance_scale,
    }
    for name, value in settings.items():
        case.add(name, torch.tensor([value]))
    case.add("passes.pictures", torch.tensor([pictures for pictures, _ in passes]), "[passes, B]", may_vanish=True)
    case.add("passes.timesteps", torch.tensor([timesteps for _, timesteps in passes]), "[passes, timesteps of each]")
    for index, noise in enumerate(noises):
        case.add(f"pass{index}.noise", noise)
    case.describe("pass*.noise", "of all timesteps of the pass")
    for index, (step, twin) in enumerate(zip(run.steps, exact.steps)):
        for what in ("x_t", "target"):
            case.add(f"step{index}.{what}", step[what], exact=twin[what])
    case.describe("step*.x_t", "[B,4,h,w]; of pairs [2,B,4,h,w], before and after")
    case.describe("step*.target", "the same shape; of pairs what the student is pulled to at +m and at -m")
    meaning = "one an optimizer step, each before its update"
    case.add("losses", torch.tensor(run.losses), meaning, exact=torch.tensor(exact.losses).double())
    worst = add_adapters(case, initial, lora, exact_lora)
    case.write()
    return "losses " + " ".join(f"{loss:.4f}" for loss in run.losses) + f", final tensors within {worst:.0e} of float64"
