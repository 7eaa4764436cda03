#!/usr/bin/env python3
"""Writes the parity fixtures: small models, inputs, and what PyTorch, diffusers and transformers make of them.

    python3 tools/export_fixtures.py [NAME...]      # default: all that don't depend on models/

tests/parity/fixtures/README.md says what the files hold. Every file is the same byte for byte on every run (same
versions, same kind of processor). `shapes` and `shapes-v` export the embedded models: run them after those changed.
tools/export_fixtures.sh does it all on a machine that has only Python.
"""

import argparse
import hashlib
import os
import time

import torch
from diffusers import StableDiffusionPipeline

import fixtures_models as models
from fixtures_common import EXTRA_RECIPE, FIXTURES, NOISE_LIMITS
from fixtures_kinds import Dora, DoraByInput, DroppedLora, PlainLoha, PlainLokr, ThinLokr, check_against_lycoris, check_against_peft
from fixtures_learning import learning_rate_cases, optimizer_cases
from fixtures_lora import curve, kind_cases, loha_cases, lora_cases, lora_init
from fixtures_modes import XL_CASES, mode_curves
from fixtures_photos import photo_curves
from fixtures_plain import TEXTS as TOKENIZER_TEXTS
from fixtures_samplers import sampler_cases
from fixtures_plain import load_tokenizer, rng_cases, scheduler_cases, tokenizer_cases, train_tokenizer
from fixtures_solve import solve_cases
from fixtures_text import text_training, text_training_xl

MODELS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "models")

TEXTS = ["a small red star on a navy background, dotted style", "", "A Blue circle!! it's 3 <b> " + "very long " * 60]

ERASE = dict(target="a red circle", positive="red", neutral="a circle", unconditional="")
ERASE_SHORT = dict(target="a red circle", positive="a red circle", neutral="", unconditional="")
ENHANCE = dict(target="a circle", positive="a blue circle", neutral="a circle", unconditional="")


TOKENIZER = os.path.join(FIXTURES, "tokenizer", "tokenizer")


def fixture_tokenizer(**options):
    return load_tokenizer(TOKENIZER, **options)


def tokenizer():
    train_tokenizer(TOKENIZER).save_pretrained(TOKENIZER)
    yield f"rows that differ from the slow tokenizer's: {tokenizer_cases('tokenizer', TOKENIZER)}"


def sd1_like(name="sd1-like"):
    tok = fixture_tokenizer()
    text = models.make_text(name, tok, **models.SD1["text"])
    unet, vae = models.make_unet(name, models.SD1["unet"]), models.make_vae(name, models.SD1["vae"])
    scheduler = models.SCHEDULERS[name]()
    parts = dict(tokenizer=tok, text_encoder=text, unet=unet, vae=vae, scheduler=scheduler)
    models.save_folder(name, "StableDiffusionPipeline", parts)
    models.text_cases(name, "text", text, models.tokenize(tok, TEXTS), TEXTS)
    models.unet_cases(name, unet, [(8, 8, [999]), (8, 12, [0, 500, 999]), (9, 7, [1, 321]), (16, 8, [123.5])])
    models.vae_cases(name, vae, [(1, 32, 24)])
    yield lora_cases(name, unet, "lora", "lierla", 4, 1, 1.0, (8, 8, [300, 700]), second=(2, 3))
    yield lora_cases(name, unet, "lora_c3lier", "c3lier", 4, 1, 1.0, (12, 8, [500]))
    yield lora_init(name, unet, 10, 7)
    yield from loha(name, unet)
    run = tok, text, unet, scheduler.config
    kept = [[3], [1], [9], [5], [7]]
    yield curve(name, "curve", *run, ERASE, 1.0, (1, 8, 8), kept)
    yield curve(name, "curve_enhance", *run, ENHANCE, -2.0, (2, 8, 12), kept[::-1], weight_decay=0.1)
    yield curve(name, "curve_multi", *run, ERASE_SHORT, 1.0, (1, 8, 8), [[0, 4, 7], [1, 2, 9]], offsets=[98, 37])
    models.generate_case(name, tok, text, unet, vae, scheduler, "a red circle", "blue")
    yield from text_training(name)


def refined():
    """Targets that aren't a plain sum, weights over timesteps, guidance in an interval. By itself, as loha."""
    for name, spec, gamma in (("sd1-like", models.SD1, 5.0), ("sd2-like", models.SD2, 1.0)):
        tok = fixture_tokenizer(**({"pad_token": "!"} if name == "sd2-like" else {}))
        text, unet = models.make_text(name, tok, **spec["text"]), models.make_unet(name, spec["unet"])
        how = dict(norm_match=True, keep_above=650, min_snr_gamma=gamma, guidance_interval=[250, 750])
        draws = [[5], [2], [8], [6], [1]]
        config = models.SCHEDULERS[name]().config
        yield curve(name, "curve_refined", tok, text, unet, config, ERASE, 1.5, (2, 8, 8), draws, refined=how)


def modes():
    """By itself, as loha."""
    yield from mode_curves(fixture_tokenizer)


def photos():
    """By itself, as loha."""
    yield from photo_curves(fixture_tokenizer)


def optimizers():
    yield optimizer_cases()
    yield learning_rate_cases()


def learning(name="sd1-like"):
    """Averages, gradients of several latents, other losses. By itself, as loha."""
    tok = fixture_tokenizer()
    text, unet = models.make_text(name, tok, **models.SD1["text"]), models.make_unet(name, models.SD1["unet"])
    run, draws = (tok, text, unet, models.SCHEDULERS[name]().config), [[1, 4, 6], [0, 3, 8], [2, 5, 7], [1, 2, 9]]
    how = dict(accumulation=2, ema_decay=0.5, loss="huber", huber_c=0.2, huber_schedule="snr")
    yield curve(name, "curve_gathered", *run, ERASE, 2.0, (1, 8, 8), draws, rank=1, learning=how)
    how = dict(optimizer="adamwschedulefree", loss="smooth_l1", huber_c=0.3, huber_schedule="exponential")
    yield curve(name, "curve_averaged", *run, ENHANCE, -2.0, (1, 8, 8), draws[:2], lr=1e-2, rank=1, learning=how)


def long_curves():
    """24 updates, in which what seldom shows in a few does: gradients that are clipped, an average whose decay is reached,
    weights over timesteps, losses that aren't squares. By itself, as loha."""
    draws, offsets = [[0, 2, 4, 5, 7, 8], [1, 3, 4, 6, 7, 9], [0, 1, 3, 5, 8, 9], [1, 2, 5, 6, 7, 8]], [0, 98, 41, 13]
    how = dict(optimizer="sgd", max_grad_norm=0.008, ema_decay=0.5)
    yield long_curve("sd1-like", "curve_clipped", models.SD1, draws, offsets, lr=1.0, learning=how)
    how = dict(loss="smooth_l1", huber_c=0.2, huber_schedule="snr")
    gamma = dict(min_snr_gamma=1.0)
    yield long_curve("sd1-like", "curve_weighed", models.SD1, draws, offsets, lr=5e-3, learning=how, refined=gamma)
    how = dict(loss="huber", huber_c=0.3, huber_schedule="exponential")
    yield long_curve("sd2-like", "curve_weighed", models.SD2, draws, offsets, lr=5e-3, learning=how, refined=gamma)


def long_curve(name, kind, spec, draws, offsets, **how):
    tok = fixture_tokenizer(**({"pad_token": "!"} if name == "sd2-like" else {}))
    text, unet = models.make_text(name, tok, **spec["text"]), models.make_unet(name, spec["unet"])
    run = tok, text, unet, models.SCHEDULERS[name]().config
    return curve(name, kind, *run, ERASE, 2.0, (1, 8, 8), draws, offsets=offsets, rank=1, states=False, **how)


def loha(name="sd1-like", unet=None):
    """By itself, too: its files don't depend on those that sd1-like writes beside them."""
    unet = unet or models.make_unet(name, models.SD1["unet"])
    notes = [loha_cases(name, unet, "loha", "lierla", 2, 1, 1.5, (8, 8, [300, 700]))]
    notes.append(loha_cases(name, unet, "loha_c3lier", "c3lier", 2, 2, 1.0, (12, 8, [500])))
    return notes


def kinds(name="sd1-like"):
    """Conv LoRA, LoKr and DoRA; runs of them. By itself, as loha."""
    tok, unet = fixture_tokenizer(), models.make_unet(name, models.SD1["unet"])

    def lycoris(unet, adapter, inputs, target, prediction, gradients, loss):
        check_against_lycoris(unet, adapter, inputs, prediction)

    def peft(unet, adapter, inputs, target, prediction, gradients, loss):
        check_against_lycoris(unet, adapter, inputs, prediction)
        check_against_peft(unet, adapter, inputs, target, gradients, loss)

    yield lora_init(name, unet, 10, 7, "lora_init_c3lier", "c3lier")
    yield kind_cases(name, unet, "lokr", PlainLokr, "c3lier", 2, 1, (12, 8, [500]), lycoris)
    yield kind_cases(name, unet, "lokr_thin", ThinLokr, "lierla", 1, 1, (8, 8, [300]), lycoris, gradients=False)
    yield kind_cases(name, unet, "dora", Dora, "c3lier", 1, 1, (12, 8, [500]), peft)
    yield kind_cases(name, unet, "dora_in", DoraByInput, "c3lier", 1, 1, (8, 8, [300]), lycoris, gradients=False)
    text = models.make_text(name, tok, **models.SD1["text"])
    run = tok, text, unet, models.SCHEDULERS[name]().config, ERASE, 1.0, (1, 8, 8), [[3], [1], [9], [5], [7]]
    yield curve(name, "curve_c3lier", *run, rank=1, scope="c3lier")
    yield curve(name, "curve_dropout", *run, rank=4, make=DroppedLora)
    yield curve(name, "curve_loha", *run, rank=1, make=PlainLoha, scope="lierla", lr=1e-2)
    yield curve(name, "curve_lokr", *run, rank=2, make=PlainLokr, scope="lierla", lr=5e-3)
    yield curve(name, "curve_dora", *run, rank=1, make=Dora, scope="lierla", lr=5e-3)


def sd2_like(name="sd2-like"):
    tok = fixture_tokenizer(pad_token="!")  # as Stable Diffusion 2 has it
    text, unet = models.make_text(name, tok, **models.SD2["text"]), models.make_unet(name, models.SD2["unet"])
    scheduler = models.SCHEDULERS[name]()
    models.save_folder(
        name, "StableDiffusionPipeline", dict(tokenizer=tok, text_encoder=text, unet=unet, scheduler=scheduler)
    )
    models.text_cases(name, "text", text, models.tokenize(tok, TEXTS), TEXTS)
    models.unet_cases(name, unet, [(12, 12, [999]), (8, 16, [0, 250, 750])])
    yield lora_cases(name, unet, "lora", "lierla", 3, 2, -0.7, (8, 12, [20, 980]))
    yield curve(
        name,
        "curve",
        tok,
        text,
        unet,
        scheduler.config,
        ERASE_SHORT,
        1.5,
        (1, 8, 8),
        [[2], [6], [9], [1], [4]],
        rank=3,
        alpha=2.0,
    )


def sdxl_like(name="sdxl-like"):
    tok, tok_2 = fixture_tokenizer(), fixture_tokenizer(pad_token="!")
    text = models.make_text(name, tok, **models.SDXL["text"])
    text_2 = models.make_text(name + " 2", tok_2, **models.SDXL["text_2"])
    unet = models.make_unet(name, models.SDXL["unet"])
    vae = models.make_vae("sd1-like", models.SD1["vae"])
    parts = dict(tokenizer=tok, tokenizer_2=tok_2, text_encoder=text, text_encoder_2=text_2, unet=unet, vae=vae)
    models.save_folder(name, "StableDiffusionXLPipeline", dict(**parts, scheduler=models.SCHEDULERS[name]()))
    models.text_cases(name, "text", text, models.tokenize(tok, TEXTS), TEXTS)
    models.text_cases(name, "text_2", text_2, models.tokenize(tok_2, TEXTS), TEXTS)
    models.unet_cases(name, unet, [(16, 16, [999]), (8, 12, [0, 501])])
    yield lora_cases(name, unet, "lora", "lierla", 4, 4, 1.0, (16, 12, [600]))


def sdxl_whole(name="sdxl-like"):
    """Pictures, two of them without a negative prompt. By itself, as loha."""
    tok, tok_2 = fixture_tokenizer(), fixture_tokenizer(pad_token="!")
    text = models.make_text(name, tok, **models.SDXL["text"])
    text_2 = models.make_text(name + " 2", tok_2, **models.SDXL["text_2"])
    unet, vae = models.make_unet(name, models.SDXL["unet"]), models.make_vae("sd1-like", models.SD1["vae"])
    scheduler = models.SCHEDULERS[name]()
    second = tok_2, text_2
    models.generate_case(name, tok, text, unet, vae, scheduler, "a red circle", "blue", (16, 20), 3, second=second)
    for case, zeros in ("generate_zeros", True), ("generate_encoded", False):
        models.generate_case(
            name, tok, text, unet, vae, scheduler, "a red circle", None, (16, 20), 2, case, second=second, zeros=zeros
        )


def sdxl_curve(name="sdxl-like"):
    """A training. By itself, as loha."""
    tok, tok_2 = fixture_tokenizer(), fixture_tokenizer(pad_token="!")
    text = models.make_text(name, tok, **models.SDXL["text"])
    text_2 = models.make_text(name + " 2", tok_2, **models.SDXL["text_2"])
    unet, config = models.make_unet(name, models.SDXL["unet"]), models.SCHEDULERS[name]().config
    # States before the last layer have no norm: of most prompts attention is as good as a choice of one token, and float32
    # then doesn't follow float64.
    prompts = dict(target="moon", positive="moon", neutral="ring", unconditional="ring")
    draws = [[3], [1], [9], [5], [7]]
    yield curve(name, "curve", tok, text, unet, config, prompts, 1.0, (1, 16, 12), draws, rank=1, second=(tok_2, text_2))


def sdxl_text(name="sdxl-like"):
    """What is trained on its text side. By itself, as loha; the folder is there, with the embedding."""
    yield from text_training_xl(name)
    yield from mode_curves(fixture_tokenizer, XL_CASES)


def odd(name="odd"):
    unet, scheduler = models.make_unet(name, models.ODD["unet"]), models.SCHEDULERS[name]()
    models.save_folder(name, "StableDiffusionPipeline", dict(unet=unet, scheduler=scheduler))
    models.unet_cases(name, unet, [(9, 7, [999, 0, 77]), (13, 8, [500, 501]), (5, 5, [11]), (16, 24, [640])])
    yield lora_cases(name, unet, "lora", "lierla", 4, 1, 1.0, (9, 7, [400, 100]))


def vae_mid(name="vae-mid"):
    vae = models.make_vae(name, models.VAE_MID)
    models.save_folder(name, "StableDiffusionPipeline", dict(vae=vae))
    models.vae_cases(name, vae, [(1, 24, 16), (2, 10, 22)])


def vae_nomid(name="vae-nomid"):
    vae = models.make_vae(name, models.VAE_NOMID)
    models.save_folder(name, "StableDiffusionPipeline", dict(vae=vae))
    models.vae_cases(name, vae, [(1, 24, 16), (2, 8, 28)])


EMBEDDED_TEXTS = ["a small red star on a navy background, dotted style", ""]
EMBEDDED_ERASE = {
    "shapes": dict(target="a red circle", positive="red", neutral="", unconditional=""),
    "shapes-v": dict(target="a gold circle", positive="gold", neutral="a circle", unconditional=""),
}
# Kept steps and learning rate with which five steps change the last loss, and float32 still follows float64 (it is checked).
EMBEDDED_CURVE = {"shapes": ([[4], [8], [6], [2], [1]], 2e-2), "shapes-v": ([[1], [2], [4], [6], [8]], 1e-2)}


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def embedded(name):
    """Case files only: the weights are models/<name>, whose digest the metadata holds."""
    folder = os.path.join(MODELS, name)
    EXTRA_RECIPE[name] = dict(unet_sha256=digest(os.path.join(folder, "unet", "diffusion_pytorch_model.safetensors")))
    NOISE_LIMITS[name] = 5e-5
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, torch_dtype=torch.float32)
    tok, text, unet, vae = pipeline.tokenizer, pipeline.text_encoder, pipeline.unet, pipeline.vae
    for part in (text, unet, vae):
        part.eval().requires_grad_(False)
    size = unet.config.sample_size
    tokenizer_cases(name, os.path.join(folder, "tokenizer"), EMBEDDED_TEXTS + TOKENIZER_TEXTS)
    input_ids = models.tokenize(tok, EMBEDDED_TEXTS)
    conditions = text(input_ids).last_hidden_state
    models.text_cases(name, "text", text, input_ids, EMBEDDED_TEXTS, layers_back=0)
    models.unet_cases(name, unet, [(size, size, [999, 600]), (size // 2, size, [1])], conditions)
    picture = models.generate_case(
        name, tok, text, unet, vae, pipeline.scheduler, EMBEDDED_TEXTS[0], "", size=(size, size), steps=25
    )
    models.vae_cases(name, vae, pictures=[2 * picture - 1])
    # Rank 1: these models are covered in breadth by the small ones; here the files are to stay small.
    yield lora_cases(
        name, unet, "lora", "lierla", 1, 1, 1.0, (size, size, [500]), conditions=conditions, smallest=0, noise=3e-4
    )
    run = tok, text, unet, pipeline.scheduler.config
    kept, lr = EMBEDDED_CURVE[name]
    yield curve(name, "curve", *run, EMBEDDED_ERASE[name], 2.0, (1, size, size), kept, lr=lr, rank=1)


NAMES = {
    "tokenizer": tokenizer,
    "rng": rng_cases,
    "scheduler": scheduler_cases,
    "samplers": sampler_cases,
    "optimizer": optimizers,
    "learning": learning,
    "long": long_curves,
    "solve": solve_cases,
    "sd1-like": sd1_like,
    "loha": loha,
    "kinds": kinds,
    "refined": refined,
    "modes": modes,
    "photos": photos,
    "sd2-like": sd2_like,
    "sdxl-like": sdxl_like,
    "sdxl": sdxl_whole,
    "sdxl-curve": sdxl_curve,
    "sdxl-text": sdxl_text,
    "odd": odd,
    "vae-mid": vae_mid,
    "vae-nomid": vae_nomid,
}
EMBEDDED = {"shapes": lambda: embedded("shapes"), "shapes-v": lambda: embedded("shapes-v")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*NAMES, *EMBEDDED]))
    names = parser.parse_args().names or list(NAMES)
    torch.set_num_threads(1)
    for name in names:
        start = time.time()
        notes = [note for note in {**NAMES, **EMBEDDED}[name]() or [] if note]
        print(f"{name}: {time.time() - start:.1f} s", *notes, sep="\n    ", flush=True)


if __name__ == "__main__":
    main()
