"""Short runs of every mode: docs/maths.md's equations and the tables of docs/config.md, with PyTorch's autograd.

A case is a config as leco reads it (the fixture holds it, with names of fixtures for models), and passes: the entry
(one more than the last: what is preserved), which of its trajectories, the offset of all timesteps, and the steps done
before the latent that is trained on (of pure noise its timestep); where entries have attributes, which of them."""

import contextlib
import copy
from types import SimpleNamespace

import torch
from torch.nn import functional as F

from fixtures_common import CaseFile, default_float64, generator, in_float64, seed_of
from fixtures_lora import STEPS, TRAJECTORY_GUIDANCE, Lora, Schedule, add_adapters, applied, denoise
from fixtures_models import SCHEDULERS, SD1, SD2, SDXL, condition, make_text, make_unet, tokenize
from fixtures_text import TOKEN, ExtendedTable, FirstTextLora, SecondTextLora, TextLora

SIDE, PIXELS = 8, 32  # of the latents, and of the pictures that the VAE would make of them
WEIGHT_DECAY = 0.01

SPECS = {"sd1-like": SD1, "sd2-like": SD2, "sdxl-like": SDXL}
PADS = {"sd1-like": [{}], "sd2-like": [{"pad_token": "!"}], "sdxl-like": [{}, {"pad_token": "!"}]}  # of the tokenizers


class Model:
    """What a fixture's model says of x_t and a text."""

    def __init__(self, name, load_tokenizer, double=False):
        spec = SPECS[name]
        self.tokenizers = [load_tokenizer(**pad) for pad in PADS[name]]
        self.text, self.unet = make_text(name, self.tokenizers[0], **spec["text"]), make_unet(name, spec["unet"])
        self.text_2 = make_text(name + " 2", self.tokenizers[1], **spec["text_2"]) if "text_2" in spec else None
        if double:
            self.text, self.unet = in_float64(self.text), in_float64(self.unet)
            self.text_2 = self.text_2 and in_float64(self.text_2)
        self.config, self.words = SCHEDULERS[name]().config, {}
        self.alphas_cumprod = Schedule(self.config, STEPS).alphas_cumprod
        self.predicts_v = self.config.get("prediction_type") == "v_prediction"

    def texts(self):
        return [self.text, self.text_2] if self.text_2 else [self.text]

    def add_word(self, word, vectors):
        """As diffusers does: tokens behind all others, of which prompts have several for the word."""
        tokens = [word] + [f"{word}_{index}" for index in range(1, vectors)]
        for tokenizer in self.tokenizers:
            assert tokenizer.add_tokens(tokens) == vectors
        self.words[word] = " ".join(tokens)

    def says(self, x, t, prompt):
        """prompt: a text, or one a latent."""
        texts = [prompt] if isinstance(prompt, str) else prompt
        for word, tokens in self.words.items():
            texts = [text.replace(word, tokens) for text in texts]
        states, pooled = condition(self.texts(), [tokenize(tokenizer, texts) for tokenizer in self.tokenizers])
        batch, added = x.shape[0], None
        if pooled is not None:
            height, width = 4 * x.shape[2], 4 * x.shape[3]
            sizes = torch.tensor([[height, width, 0, 0, height, width]]).to(x.dtype)
            added = dict(text_embeds=pooled.expand(batch, -1), time_ids=sizes.expand(batch, -1))
        times = torch.full((batch,), t)
        return self.unet(x, times, states.expand(batch, -1, -1), added_cond_kwargs=added).sample

    def understands(self, other, prediction, x, t):
        """Another model's prediction as one of this model's kind."""
        if self.predicts_v == other.predicts_v:
            return prediction
        alpha = other.alphas_cumprod[t].to(x.dtype)
        signal, rest = alpha**0.5, (1 - alpha) ** 0.5
        return signal * prediction + rest * x if other.predicts_v else (prediction - rest * x) / signal


# ------------------------------------------------------------------------------------------------- what is trained


class Loras:
    """On the U-Net, and on the text encoders where the network says so."""

    zero = Lora.zero

    def __init__(self, parts):
        self.parts = parts

    @staticmethod
    def fresh(model, network, rng):
        size = network["rank"], network["alpha"], rng
        parts = [("unet", Lora(model.unet, "lierla", *size, fresh=True))]
        if network.get("text_encoder"):
            two = [("text", FirstTextLora), ("text_2", SecondTextLora)]
            for part, make in two if model.text_2 else [("text", TextLora)]:
                parts.append((part, make(getattr(model, part), "text encoder", *size, fresh=True)))
        return Loras(parts)

    def parameters(self):
        return [tensor for _, lora in self.parts for tensor in lora.parameters()]

    def named(self):
        return [pair for _, lora in self.parts for pair in lora.named()]

    def map(self, change):
        return Loras([(part, lora.map(change)) for part, lora in self.parts])

    def install(self, model):
        pass

    @contextlib.contextmanager
    def on(self, model, multiplier):
        with contextlib.ExitStack() as stack:
            for part, lora in self.parts:
                stack.enter_context(applied(getattr(model, part), (lora, multiplier)))
            yield


class Embedding:
    """What TOKEN stands for, to each text encoder; it is there or it isn't, whatever the multiplier."""

    zero = ()

    def __init__(self, rows):
        self.rows = rows

    @staticmethod
    def fresh(model, network, rng):
        tables = [text.text_model.embeddings.token_embedding.weight for text in model.texts()]
        return Embedding(
            [torch.randn(network["vectors"], table.shape[1], generator=rng) * table.std() for table in tables]
        )

    def parameters(self):
        return self.rows

    def named(self):
        return list(zip(["emb_params"] if len(self.rows) == 1 else ["clip_l", "clip_g"], self.rows))

    def map(self, change):
        return Embedding([change(rows) for rows in self.rows])

    def install(self, model):
        model.add_word(TOKEN, self.rows[0].shape[0])

    @contextlib.contextmanager
    def on(self, model, _):
        all_of = [text.text_model.embeddings for text in model.texts()]
        tables = [embeddings.token_embedding for embeddings in all_of]
        for embeddings, table, rows in zip(all_of, tables, self.rows):
            embeddings.token_embedding = ExtendedTable(table, rows)
        try:
            yield
        finally:
            for embeddings, table in zip(all_of, tables):
                embeddings.token_embedding = table


# ----------------------------------------------------------------------------------------------------------- modes
# Each gives its branches, (weight, multiplier, prompt, what it is pulled to), of which the entry's own weight and
# multiplier are factors.


def erase(e, g, says):
    return [(1, 1, e.target, says(e.neutral) - g * (says(e.positive) - says(e.unconditional)))]


def enhance(e, g, says):
    return erase(e, -g, says)


def slider(e, g, says):
    apart = g * (says(e.positive) - says(e.unconditional))
    return [(1, 1, e.target, says(e.neutral) + apart), (1, -1, e.target, says(e.neutral) - apart)]


def distill(e, g, says):
    return [(1, 1, e.target, says(e.unconditional) + g * (says(e.positive) - says(e.unconditional)))]


def transplant(e, g, says):
    branches = [(1, 1, e.target, says(e.positive)), (1 - 1 / g, 1, e.unconditional, says(e.unconditional))]
    return branches[: 1 if g == 1 else 2]


def negative(e, g, says):
    """So that n + g (p - n) = u + g (q - u), for p of positive and q of neutral."""
    n = (says(e.unconditional) + g * (says(e.neutral) - says(e.unconditional)) - g * says(e.positive)) / (1 - g)
    return [(1, 1, e.target, n)]


def terms(e, _, says):
    return [(1, 1, e.target, sum(term["weight"] * says(term["prompt"], term.get("teacher")) for term in e.terms))]


def preserve(e, _, says):
    return [(1, multiplier, e.target, says(e.target)) for multiplier in e.multipliers]


MODES = dict(
    erase=erase, enhance=enhance, slider=slider, distill=distill, transplant=transplant, negative=negative, terms=terms
)


def complete(entry, choice=0):
    """An entry of a config with what it leaves unsaid, one of its attributes before all texts; branches; and sources:
    (model, multiplier, prompt, negative) of what denoises, or None where nobody does."""
    e = SimpleNamespace(
        **{**dict(unconditional="", guidance_scale=1.0, multiplier=1.0, weight=1.0, teacher=None), **entry}
    )
    mode = entry.get("action", "terms" if "terms" in entry else "transplant" if e.teacher else "erase")
    if "erase_from" in entry:
        e.positive, e.target, e.neutral = e.target, e.erase_from, e.erase_from
    e.positive = getattr(e, "positive", e.target)
    e.neutral = getattr(e, "neutral", e.target if mode == "slider" else e.unconditional)
    if "attributes" in entry:
        for role in ("target", "positive", "unconditional", "neutral"):
            setattr(e, role, f"{entry['attributes'][choice]} {getattr(e, role)}".strip())
    e.branches, e.guidance = MODES[mode], 1 if mode == "distill" else TRAJECTORY_GUIDANCE
    e.sources = sources(e, mode, entry.get("trajectory", "student"))
    return e


def sources(e, mode, trajectory):
    student, frozen = (None, e.multiplier, e.target, e.unconditional), (None, 0, e.target, e.unconditional)
    teacher = (e.teacher, 0, e.positive, e.unconditional)
    if mode == "slider":
        return [(None, multiplier, e.target, "") for multiplier in (e.multiplier, -e.multiplier)]
    if mode == "negative":
        return [(None, e.multiplier, e.positive, e.target)]
    ways = dict(student=[student], frozen=[frozen], teacher=[teacher], both=[student, teacher], none=[None])
    return ways[trajectory]


def held(config, entries):
    """What is preserved, at the largest and the smallest multiplier that an entry is trained at."""
    all_of = [m for e in entries for m in ((e.multiplier, -e.multiplier) if e.branches is slider else (e.multiplier,))]
    multipliers = sorted({max(all_of), min(all_of)}, reverse=True)
    e = SimpleNamespace(
        target=config["prompts"], weight=config["weight"], guidance_scale=None, multiplier=1, teacher=None
    )
    e.sources = [(None, m, e.target, "") for m in multipliers]
    e.multipliers, e.branches, e.guidance = multipliers, preserve, TRAJECTORY_GUIDANCE
    return e


def objectives_of(config, choice=0):
    entries = [complete(entry, choice) for entry in config["prompts"]]
    return entries + ([held(config["preserve"], entries)] if "preserve" in config else [])


# ------------------------------------------------------------------------------------------------------------ runs


class ModeRun:
    """A few optimizer steps of a config; the same code for float32 and for its float64 check."""

    def __init__(self, model, teachers, adapter, config, noises, passes, lr):
        self.losses, self.steps = [], []
        self.model, self.teachers, self.adapter, self.config = model, teachers, adapter, config
        adapter.install(model)
        self.parameters = [tensor.requires_grad_() for tensor in adapter.parameters()]
        optimizer = torch.optim.AdamW(self.parameters, lr=lr, weight_decay=WEIGHT_DECAY)
        for noise, drawn in zip(noises, passes):
            optimizer.zero_grad()
            self.follow(noise, *drawn)
            for tensor in self.parameters:
                if tensor.grad is None:  # of a layer that nothing reads; leco's optimizers step all there is
                    tensor.grad = torch.zeros_like(tensor)
            optimizer.step()
        self.gradients = {key: tensor.grad for key, tensor in adapter.named()}  # of the last step
        for tensor in self.parameters:
            tensor.requires_grad_(False)

    def follow(self, noise, which, source, offset, kept, choice=0):
        objective = objectives_of(self.config, choice)[which]
        self.learn(objective, *self.latent(objective.sources[source], objective.guidance, noise, offset, kept))

    def student(self, x, t, prompt, multiplier):
        with self.adapter.on(self.model, multiplier):
            return self.model.says(x, t, prompt)

    @torch.no_grad()
    def latent(self, source, guidance, x, offset, kept):
        if source is None:
            return x, kept
        teacher, multiplier, prompt, negative = source
        model = self.teachers[teacher] if teacher else self.model
        says = (lambda *of: self.student(*of, multiplier)) if multiplier else model.says

        def guided(x, t):
            if guidance == 1:
                return says(x, t, prompt)
            unconditional = says(x, t, negative)
            return unconditional + guidance * (says(x, t, prompt) - unconditional)

        return denoise(Schedule(model.config, STEPS, offset), x, [kept], guided)[0]

    def learn(self, e, x, t):
        @torch.no_grad()
        def says(prompt, teacher=e.teacher):
            model = self.teachers[teacher] if teacher else self.model
            return self.model.understands(model, model.says(x, t, prompt), x, t)

        branches = e.branches(e, e.guidance_scale, says)
        self.descend(t, x, [(e.weight * weight, e.multiplier * m, x, *rest) for weight, m, *rest in branches])

    def descend(self, t, latents, branches):
        """branches: (weight, multiplier, x, prompt, what it is pulled to)."""
        loss = self.weight(t) * sum(
            weight * F.mse_loss(self.student(x, t, prompt, multiplier), wanted)
            for weight, multiplier, x, prompt, wanted in branches
        )
        loss.backward()
        self.losses.append(loss.item())
        self.steps.append(dict(x_t=latents, target=torch.stack([wanted for *_, wanted in branches])))

    def weight(self, t):
        """min-SNR: min(SNR, gamma) / SNR, of v / (SNR + 1)."""
        gamma = self.config["train"].get("min_snr_gamma")
        if not gamma:
            return 1
        alpha = self.model.alphas_cumprod[t].item()
        snr = alpha / (1 - alpha)
        return min(snr, gamma) / (snr + 1 if self.model.predicts_v else snr)


MEANINGS = {
    "objective": "which entry, or behind them what is preserved",
    "source": "which of its trajectories",
    "offset": "added to every timestep",
    "kept": "steps done before the latent, or its timestep where it is noise",
    "choice": "which of the attributes",
}


def add_passes(case, passes, noises, run, exact, meanings):
    for (name, meaning), column in zip(meanings.items(), zip(*passes)):
        case.add(f"passes.{name}", torch.tensor(column), meaning, may_vanish=True)
    for index, noise in enumerate(noises):
        case.add(f"pass{index}.noise", noise)
        for what in ("x_t", "target"):
            case.add(f"step{index}.{what}", run.steps[index][what], exact=exact.steps[index][what])
    case.describe("pass*.noise", "what it begins with")
    case.describe("step*.x_t", "the kept latents")
    case.describe("step*.target", "[branches,B,4,h,w] what the branches are pulled to")
    meaning = "one a pass, each before its update"
    case.add("losses", torch.tensor(run.losses), meaning, exact=torch.tensor(exact.losses, dtype=torch.float64))


def add_gradients(case, run, exact):
    worst = 0.0
    for key, gradient in run.gradients.items():
        if gradient.any():
            worst = max(worst, ((gradient - exact.gradients[key]).norm() / exact.gradients[key].norm()).item())
        case.add("grad." + key, gradient, may_vanish=True)
    assert worst < 3e-4, f"{case.path}: float32 gradients are {worst:.1e} from float64"
    case.describe(
        "grad.*", f"d loss / d <key> in the last step (worst tensor: float64 differs by {worst:.0e} of its norm)"
    )


def whole(config, fixture, resolution=PIXELS):
    """With what all runs have in common, and the batch size."""
    defaults = dict(pretrained_model=dict(name_or_path=fixture), network={}, teachers={}, train={})
    config = defaults | copy.deepcopy(config)
    if "type" not in config["network"]:
        config["network"].update(rank=1, alpha=1.0)
    settings = dict(precision="float32", optimizer="adamw", optimizer_args=f"weight_decay={WEIGHT_DECAY}", lr=1e-2,
                    lr_scheduler="constant")
    settings.update(iterations=99, max_denoising_steps=STEPS, timestep_jitter=True)
    config["train"] = settings | config["train"]
    entries = config.get("prompts", []) + [config[key] for key in ("images", "preserve") if key in config]
    batch = max(entry.get("batch_size", 1) for entry in entries)
    for entry in entries:
        entry.update(resolution=resolution, batch_size=batch)
    return config, batch


def write_curve(load_tokenizer, case, config, noises, passes, rng, start=lambda double: ModeRun, meanings=MEANINGS):
    """Runs it, and writes the case. start(double): what is called for a run."""
    lr, network = config["train"]["lr"], config["network"]
    make = Embedding if network.get("type") == "embedding" else Loras
    fixture = config["pretrained_model"]["name_or_path"]

    def models(double=False):
        donors = {name: teacher["name_or_path"] for name, teacher in config["teachers"].items()}
        return Model(fixture, load_tokenizer, double), {
            name: Model(donor, load_tokenizer, double) for name, donor in donors.items()
        }

    adapter = make.fresh(models()[0], network, rng)
    initial = adapter.map(torch.Tensor.clone)
    exact_adapter, exact_noises = initial.map(torch.Tensor.double), [noise.double() for noise in noises]
    run = start(False)(*models(), adapter, config, noises, passes, lr)
    still = start(False)(*models(), initial.map(torch.Tensor.clone), config, noises, passes, 0.0)
    exact_models = models(double=True)
    with default_float64():
        exact = start(True)(*exact_models, exact_adapter, config, exact_noises, passes, lr)
    change = abs(1 - still.losses[-1] / run.losses[-1])
    assert change > 0.03, f"{case.path}: training changes the last loss by {change:.1e}, hardly a test"
    add_passes(case, passes, noises, run, exact, meanings)
    worst = add_adapters(case, initial, adapter, exact_adapter)
    add_gradients(case, run, exact)
    case.write()
    losses = " ".join(f"{loss:.4f}" for loss in run.losses)
    return f"losses {losses}, final tensors within {worst:.0e} of float64"


def mode_curve(load_tokenizer, fixture, kind, config, passes):
    """Writes `<kind>.safetensors`."""
    seed_name = f"{fixture} {kind}"
    rng = generator(seed_name)
    config, batch = whole(config, fixture)
    noises = [torch.randn(batch, 4, SIDE, SIDE, generator=rng) for _ in passes]
    case = CaseFile(fixture, kind, seed=seed_of(seed_name), config=config, passes=passes)
    return f"{kind}: {write_curve(load_tokenizer, case, config, noises, passes, rng)}"


# ----------------------------------------------------------------------------------------------------------- cases

V_DONOR, DONOR = dict(donor=dict(name_or_path="sd2-like")), dict(donor=dict(name_or_path="sd1-like"))
WORD = dict(type="embedding", token=TOKEN, vectors=2, init="red")

# Fixture, name, config, passes.
CASES = [
    (
        "sd1-like",
        "mode_transplant",
        dict(
            teachers=V_DONOR,
            prompts=[dict(target="a circle", positive="a red circle", teacher="donor", trajectory="teacher")],
        ),
        [(0, 0, 0, 3), (0, 0, 40, 6), (0, 0, 98, 9), (0, 0, 7, 1), (0, 0, 61, 5)],
    ),
    (
        "sd1-like",
        "mode_transplant_guided",
        dict(
            teachers=V_DONOR,
            prompts=[
                dict(
                    target="a circle",
                    positive="a red circle",
                    unconditional="blue",
                    teacher="donor",
                    trajectory="both",
                    guidance_scale=4.0,
                    weight=0.6,
                    batch_size=2,
                )
            ],
        ),
        [(0, 0, 0, 2), (0, 1, 40, 6), (0, 0, 98, 8), (0, 1, 7, 1), (0, 0, 61, 5)],
    ),
    (
        "sd2-like",
        "mode_transplant_guided",
        dict(
            train=dict(lr=3e-2),
            teachers=DONOR,
            prompts=[
                dict(
                    target="a circle",
                    positive="a red circle!",
                    teacher="donor",
                    trajectory="both",
                    guidance_scale=4.0,
                    multiplier=0.8,
                )
            ],
        ),
        [(0, 1, 0, 7), (0, 0, 40, 6), (0, 1, 98, 9), (0, 0, 7, 8), (0, 0, 61, 9)],
    ),
    (
        "sd1-like",
        "mode_distill",
        dict(
            prompts=[dict(target="a circle", unconditional="blue", action="distill", guidance_scale=4.0, batch_size=2)]
        ),
        [(0, 0, 0, 2), (0, 0, 40, 6), (0, 0, 98, 8), (0, 0, 7, 1), (0, 0, 61, 5)],
    ),
    (
        "sd1-like",
        "mode_slider",
        dict(
            prompts=[
                dict(
                    target="a circle",
                    positive="a red circle",
                    unconditional="a blue circle",
                    action="slider",
                    guidance_scale=2.0,
                    multiplier=0.7,
                    batch_size=2,
                )
            ]
        ),
        [(0, 0, 0, 2), (0, 1, 40, 6), (0, 0, 98, 8), (0, 1, 7, 1), (0, 1, 61, 5)],
    ),
    (
        "sd1-like",
        "mode_slider_attributes",
        dict(
            prompts=[
                dict(
                    target="a circle",
                    positive="a red circle",
                    unconditional="",
                    action="slider",
                    guidance_scale=2.0,
                    attributes=["small", "a blue star", "large"],
                )
            ]
        ),
        [(0, 0, 0, 2, 1), (0, 1, 40, 6, 0), (0, 0, 98, 8, 2), (0, 1, 7, 1, 0), (0, 1, 61, 5, 1)],
    ),
    (
        "sd1-like",
        "mode_preserve",
        dict(
            train=dict(lr=3e-2),
            prompts=[dict(target="a red circle", positive="red", neutral="a circle", guidance_scale=3.0, weight=0.7)],
            preserve=dict(prompts="a blue star", weight=2.5),
        ),
        [(0, 0, 0, 2), (0, 0, 40, 6), (1, 0, 98, 8), (0, 0, 7, 1), (1, 0, 61, 2)],
    ),
    (
        "sd1-like",
        "mode_preserve_both",
        dict(
            train=dict(lr=3e-2),
            prompts=[
                dict(target="a red circle", positive="red", multiplier=1.2),
                dict(target="a star", positive="a blue star", action="slider", multiplier=0.5),
            ],
            preserve=dict(prompts="a blue circle", weight=0.4),
        ),
        [(0, 0, 0, 2), (2, 0, 40, 6), (1, 1, 98, 8), (1, 0, 7, 1), (2, 1, 61, 5)],
    ),
    (
        "sd1-like",
        "mode_embedding",
        dict(
            network=WORD,
            prompts=[
                dict(
                    target=f"a {TOKEN} circle",
                    positive="a small blue star",
                    unconditional="red",
                    action="distill",
                    guidance_scale=2.0,
                )
            ],
        ),
        [(0, 0, 0, 2), (0, 0, 40, 6), (0, 0, 98, 8), (0, 0, 7, 1), (0, 0, 61, 5)],
    ),
    (
        "sd1-like",
        "mode_negative",
        dict(
            network=WORD,
            prompts=[
                dict(
                    target=TOKEN,
                    positive="a red circle",
                    neutral="a circle",
                    unconditional="a star",
                    action="negative",
                    guidance_scale=4.0,
                    batch_size=2,
                )
            ],
        ),
        [(0, 0, 0, 2), (0, 0, 40, 6), (0, 0, 98, 8), (0, 0, 7, 1), (0, 0, 61, 5)],
    ),
    (
        "sd1-like",
        "mode_text",
        dict(
            network=dict(text_encoder=True),
            prompts=[dict(target="a red circle", positive="red", neutral="a circle", multiplier=0.8)],
        ),
        [(0, 0, 0, 3), (0, 0, 40, 6), (0, 0, 98, 8), (0, 0, 7, 1), (0, 0, 61, 5)],
    ),
    (
        "sd1-like",
        "mode_entries",
        dict(
            teachers=V_DONOR,
            prompts=[
                dict(target="red", erase_from="a red circle"),
                dict(
                    target="a star",
                    terms=[
                        dict(prompt="a blue star", weight=1.5),
                        dict(prompt="a red star", weight=0.75, teacher="donor"),
                        dict(prompt="", weight=-1.25),
                    ],
                    trajectory="frozen",
                    unconditional="blue",
                ),
                dict(target="a red circle", positive="red", trajectory="none", action="enhance", guidance_scale=3.0),
            ],
        ),
        [(0, 0, 0, 3), (1, 0, 40, 6), (2, 0, 0, 777), (2, 0, 0, 12), (1, 0, 61, 5), (0, 0, 98, 7)],
    ),
]


# Prompts and latents are chosen so that float32 follows float64 (sdxl_curve in export_fixtures.py says why it may not).
XL_CASES = [
    (
        "sdxl-like",
        "mode_text",
        dict(
            network=dict(text_encoder=True),
            prompts=[
                dict(
                    target="star circle",
                    positive="star circle",
                    neutral="moon",
                    unconditional="ring",
                    multiplier=0.8,
                )
            ],
        ),
        [(0, 0, 0, 0), (0, 0, 61, 9), (0, 0, 7, 7), (0, 0, 0, 6), (0, 0, 98, 3)],
    ),
    (
        "sdxl-like",
        "mode_embedding",
        dict(
            network=WORD,
            prompts=[
                dict(
                    target=TOKEN,
                    positive="red",
                    unconditional="ring",
                    action="distill",
                    guidance_scale=2.0,
                )
            ],
        ),
        [(0, 0, 61, 7), (0, 0, 98, 3), (0, 0, 0, 0), (0, 0, 40, 1), (0, 0, 0, 6)],
    ),
]


def mode_curves(load_tokenizer, cases=CASES):
    for case in cases:
        yield mode_curve(load_tokenizer, *case)
