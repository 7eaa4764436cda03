"""Short runs on photographs: what docs/maths.md and docs/config.md say is learnt of them, with PyTorch's autograd.

A case is a config as of fixtures_modes.py whose folders of pictures are in the fixture, and passes, of which those on
photographs say the timestep and which pictures. Objectives are numbered: the entries, images, what is preserved,
images.regularisation."""

import functools
from types import SimpleNamespace

import torch
from diffusers import DDPMScheduler
from torch.nn import functional as F

from fixtures_common import CaseFile, generator, in_float64, relative_error, seed_of
from fixtures_models import SD1, make_vae
from fixtures_modes import MEANINGS, WORD, Model, ModeRun, complete, held, whole, write_curve
from fixtures_text import TOKEN

HEIGHT, WIDTH = 16, 32  # of pictures; the VAE's factor is 4


def draw_pictures(count, rng):
    """Soft colours, whole numbers of 0 to 255: [count,3,HEIGHT,WIDTH]."""
    coarse = torch.randn(count, 3, 4, 4, generator=rng)
    fine = F.interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic", align_corners=False)
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


def album(settings):
    """A folder whose pictures are learnt as they are."""
    values = dict(weight=1.0, guidance_scale=1.0, multiplier=1.0, branches=None, prompt=None) | settings
    return SimpleNamespace(**values, folder=settings["path"])


def objectives_of(config):
    entries, images = [complete(entry) for entry in config.get("prompts", [])], config.get("images")
    learnt = entries + ([album(images)] if images else [])
    others = [album(images["regularisation"])] if images and "regularisation" in images else []
    return learnt + ([held(config["preserve"], learnt)] if "preserve" in config else []) + others


class PhotoRun(ModeRun):
    """folders: (latents [n,4,h,w], captions: a text or None each) by name."""

    def __init__(self, folders, model, *rest):
        self.folders, self.noising = folders, Noising(model.config)
        super().__init__(model, *rest)

    def follow(self, noise, which, source, offset, kept, pictures):
        e = objectives_of(self.config)[which]
        if hasattr(e, "folder"):
            self.learn_pictures(e, noise, kept, pictures)
        elif hasattr(e, "images"):
            self.learn_pairs(e, noise, kept, pictures)
        else:
            self.learn(e, *self.latent(e.sources[source], e.guidance, noise, offset, kept))

    def learn_pictures(self, e, noise, t, pictures):
        """The noise that was added, or v of it; for guided pictures without a prompt, too."""
        latents, captions = self.folders[e.folder]
        x, wanted = (make(latents[pictures], noise, t) for make in (self.noising.add, self.noising.target))
        prompts = [e.prompt if captions[index] is None else captions[index] for index in pictures]
        branches = [(e.weight, 1.0, x, prompts, wanted)]
        if e.guidance_scale > 1:
            branches.append(((1 - 1 / e.guidance_scale) * e.weight, 1.0, x, "", wanted))
        self.descend(t, x, branches)

    def learn_pairs(self, e, noise, t, pictures):
        """ADDifT: what the frozen model says of the one picture is what the student is to say of the other."""
        clean = (self.folders[e.images[name]][0][pictures] for name in ("before", "after"))
        before, after = (self.noising.add(each, noise, t) for each in clean)
        with torch.no_grad():
            of_before, of_after = (self.model.says(x, t, e.target) for x in (before, after))
        first = of_after + e.guidance_scale * (of_before - of_after)
        second = of_before + e.guidance_scale * (of_after - of_before)
        m, text = e.multiplier, e.target
        branches = [(e.weight, m, after, text, first), (e.weight, -m, before, text, second)]
        self.descend(t, torch.stack([before, after]), branches)


def photo_curve(load_tokenizer, fixture, kind, config, folders, passes):
    """Writes `<kind>.safetensors`. folders: the captions of each folder's pictures, by its name in the config."""
    seed_name = f"{fixture} {kind}"
    rng = generator(seed_name)
    config, batch = whole(config, fixture, [HEIGHT, WIDTH])
    pictures = {name: draw_pictures(len(captions), rng) for name, captions in folders.items()}
    vae = make_vae("sd1-like", SD1["vae"])  # whose latents' sizes are right for sd2-like, too
    exact_vae = in_float64(vae)
    with torch.no_grad():
        clean = {name: (latents_of(vae, each), folders[name]) for name, each in pictures.items()}
        exact = {name: (latents_of(exact_vae, each.double()), folders[name]) for name, each in pictures.items()}
    noises = [torch.randn(batch, 4, HEIGHT // 4, WIDTH // 4, generator=rng) for _ in passes]
    Noising(Model(fixture, load_tokenizer).config).check(rng)
    case = CaseFile(fixture, kind, seed=seed_of(seed_name), config=config, captions=folders, passes=passes)
    for name, each in pictures.items():
        case.add(f"pictures.{name}", each, "0 to 255")
    meanings = {key: MEANINGS[key] for key in ("objective", "source", "offset")}
    meanings["kept"] = "the timestep; of what is preserved the steps done before the latent"
    meanings["pictures"] = "[passes,B]; -1 where there are none"

    def start(double):
        return functools.partial(PhotoRun, exact if double else clean)

    return f"{kind}: {write_curve(load_tokenizer, case, config, noises, passes, rng, start, meanings)}"


# ----------------------------------------------------------------------------------------------------------- cases


def photographs(which, timestep, *pictures):
    return which, 0, 0, timestep, list(pictures)


def denoised(which, offset, kept, batch):
    return which, 0, offset, kept, [-1] * batch


PHOTOS = dict(path="photos", prompt="a circle", weight=0.7, batch_size=2)
CAPTIONS = ["a red circle", "a small blue star", None]  # the last is what the config says
FIVE = [
    photographs(0, 701, 2, 0),
    photographs(0, 40, 1, 1),
    photographs(0, 350, 0, 2),
    photographs(0, 900, 1, 2),
    photographs(0, 540, 2, 1),
]

# Fixture, name, config, folders, passes.
CASES = [
    ("sd1-like", "photos", dict(images=PHOTOS), dict(photos=CAPTIONS), FIVE),
    ("sd2-like", "photos", dict(images=PHOTOS), dict(photos=CAPTIONS), FIVE),
    (
        "sd1-like",
        "photo_pairs",
        dict(
            train=dict(lr=2e-2),
            prompts=[
                dict(
                    target="a circle",
                    action="slider",
                    images=dict(before="before", after="after"),
                    guidance_scale=0.7,
                    multiplier=1.6,
                    weight=0.6,
                    batch_size=2,
                )
            ]
        ),
        dict(before=[None] * 2, after=[None] * 2),
        [
            photographs(0, 120, 1, 0),
            photographs(0, 600, 0, 0),
            photographs(0, 40, 0, 1),
            photographs(0, 850, 1, 1),
            photographs(0, 80, 1, 0),
        ],
    ),
    # As examples/dreambooth.yaml has it.
    (
        "sd1-like",
        "photo_guided",
        dict(
            network=dict(text_encoder=True),
            train=dict(min_snr_gamma=1.0),
            images=PHOTOS | dict(guidance_scale=2.5),
            preserve=dict(prompts="", weight=0.8),
        ),
        dict(photos=CAPTIONS),
        [
            photographs(0, 300, 2, 0),
            photographs(0, 820, 1, 0),
            denoised(1, 40, 6, 2),
            photographs(0, 60, 0, 2),
            denoised(1, 7, 2, 2),
            photographs(0, 480, 2, 1),
        ],
    ),
    (
        "sd1-like",
        "photo_regularisation",
        dict(images=PHOTOS | dict(guidance_scale=2.0, regularisation=dict(path="others", prompt="a star", weight=0.4))),
        dict(photos=CAPTIONS, others=[None, "a large star"]),
        [
            photographs(0, 610, 2, 0),
            photographs(1, 350, 0, 1),
            photographs(0, 90, 0, 0),
            photographs(1, 770, 1, 1),
            photographs(1, 480, 0, 1),
        ],
    ),
    (
        "sd1-like",
        "photo_embedding",
        dict(network=WORD, train=dict(lr=1e-1), images=PHOTOS | dict(prompt=f"a {TOKEN} circle")),
        dict(photos=[f"a small {TOKEN}", f"{TOKEN}", None]),
        FIVE,
    ),
]


def photo_curves(load_tokenizer):
    for case in CASES:
        yield photo_curve(load_tokenizer, *case)
