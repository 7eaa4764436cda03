"""Fixtures without a network: tokenizer, random numbers, noise schedule and samplers."""

import json
import os
import shutil
import sys
import unicodedata
from collections import Counter
from itertools import pairwise

import numpy as np
import regex
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler
from torch import nn
from transformers import CLIPTokenizer, CLIPTokenizerFast
from transformers.models.clip.tokenization_clip import bytes_to_unicode

from fixtures_common import FIXTURES, CaseFile, generator, relative_error, seed_of
from fixtures_lora import Schedule
from fixtures_models import SCHEDULE, TOKENS, tokenize

# --------------------------------------------------------------------------------------------------- tokenizer

CORPUS = """
a photo of a small red star on a navy background, dotted style. a large blue circle on a white background, flat style.
an orange square, outline style; a green triangle on gray; a purple heart on cream; a pink ring; a brown cross; a moon.
the quick brown fox jumps over the lazy dog while the other dogs are sleeping under the old apple tree in the garden.
a portrait painting of an elderly man wearing a hat, oil on canvas, highly detailed, soft light, sharp focus, trending.
it's what they've said: we're not there, i'm sure you'll see that he'd don't and can't. she hasn't. they're here.
masterpiece, best quality, ultra detailed, cinematic lighting, 8k, concept art, digital painting, smooth, illustration.
landscape with mountains, a river, trees and clouds at sunset; reflections in water, golden hour, wide angle photograph.
worst quality, low quality, blurry, jpeg artifacts, watermark, signature, cropped, bad anatomy, extra fingers, text.
une peinture à l'huile d'un château près de la forêt. ein schönes Mädchen mit Hund, größer als zuvor. naïve café résumé.
interior of a spaceship, glowing lights, futuristic city street at night in the rain, neon signs, crowded market place.
"""

PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""

TEXTS = [
    "",
    " ",
    "a small red star on a navy background, dotted style",
    "A SMALL Red STAR On A Navy Background, Dotted STYLE",
    "it's they've we're I'm you'll he'd don't can't IT'S THEY'VE",
    "1234567890 8k 3d 4x4 2024-11-22 3.14159 ½ ² ٣ Ⅷ",
    "  leading,   several\tkinds \n\n of\r\nwhitespace\u00a0and\u2003more\u3000here  ",
    "((masterpiece)), [best: quality:1.2] {curly} <lora:name:0.8> a_b-c/d\\e",
    "hello...world!!! what?! #1 @home 50% & more ~ ^ | `tick` \"quoted\" 'single'",
    "“curly quotes” ‘single’ it’s — dash – en… ellipsis",
    "caf\u00e9 cafe\u0301 nai\u0308ve \u212b \ufb01ne e\u0301\u0327",
    "ÀÉÎÕÜ ß ẞ İstanbul ΣΊΣΥΦΟΣ ДОМ",
    "日本語の絵 漢字 中文图片 한국어 그림",
    "日本red漢字 紅star",
    "🙂 👩‍🎨 🇩🇪 ❤️ red🙂circle",
    "السلام नमस्ते ไทย שלום",
    "&lt;b&gt; &amp; &amp;amp; &eacute; &#39;",
    "a circle <|endoftext|> a square",
    "<|startoftext|>a star<|endoftext|>",
    "a<|endoftext|>b <|ENDOFTEXT|> < |endoftext| >",
    "zero\u200bwidth soft\u00adhyphen bell\u0007 nul\u0000 replacement\ufffd bom\ufeff",
    "ＦＵＬＬＷＩＤＴＨ ｔｅｘｔ １２３",
    "donâ€™t cafÃ©",
    "supercalifragilisticexpialidocious antidisestablishmentarianism qqqqqqqqqqqqqqqqzx",
    " ".join(["a small red star on a navy background, dotted style"] * 12),
    " ".join(["star"] * 75),
    " ".join(["star"] * 76),
    "x" * 400,
    "combining\u0301\u0302\u0303 \u0301alone o\u0308\u0301",
    "line one\u2028line two\u2029para\u0085next \x1c\x1d\x1e\x1f sep \x0b \x0c",
    "𝒻𝒶𝓃𝒸𝓎 𝟙𝟚 ⓐⓑ ㎏ ﷺ",
    "can''t 'sting 'tis 'll'd o'clock rock'n'roll",
]


def learn_merges(corpus, count):
    """Byte-pair encoding: the commonest pair of neighbours becomes one symbol, again and again. (The trainer of the
    `tokenizers` package breaks ties differently on every run.)"""
    letters = bytes_to_unicode()
    found = Counter(regex.findall(PATTERN, unicodedata.normalize("NFC", corpus).lower()))
    words = {tuple(letters[byte] for byte in word.encode()): times for word, times in found.items()}
    words = {(*word[:-1], word[-1] + "</w>"): times for word, times in words.items()}
    merges = []
    while len(merges) < count:
        pairs = Counter()
        for word, times in words.items():
            for pair in pairwise(word):
                pairs[pair] += times
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {merged(word, best): times for word, times in words.items()}
    return merges


def merged(word, pair):
    symbols = []
    for symbol in word:
        if symbols and (symbols[-1], symbol) == pair:
            symbols[-1] += symbol
        else:
            symbols.append(symbol)
    return tuple(symbols)


def train_tokenizer(folder, merges=400):
    """A byte-level BPE as CLIP's: ids are 256 bytes, the same 256 ending a word, the merges in order, start, end."""
    learnt = learn_merges(CORPUS, merges)
    letters = list(bytes_to_unicode().values())
    words = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in learnt]
    words += ["<|startoftext|>", "<|endoftext|>"]
    assert len(set(words)) == len(words)
    shutil.rmtree(folder, ignore_errors=True)  # transformers would believe an old tokenizer_config.json
    os.makedirs(folder)
    with open(os.path.join(folder, "vocab.json"), "w", encoding="utf-8") as out:
        json.dump({word: index for index, word in enumerate(words)}, out, ensure_ascii=False)
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as out:
        out.write("#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in learnt))
    return load_tokenizer(folder)


def load_tokenizer(folder, fast=False, ftfy=False, **options):
    """ftfy: whether the slow tokenizer may use that package for cleaning the text, as it does where it finds it."""
    hidden = None if ftfy else sys.modules.pop("ftfy", None)
    if not ftfy:
        sys.modules["ftfy"] = None  # makes its import fail
    try:
        return (CLIPTokenizerFast if fast else CLIPTokenizer).from_pretrained(
            folder, model_max_length=TOKENS, **options
        )
    finally:
        if not ftfy:
            del sys.modules["ftfy"]
        if hidden:
            sys.modules["ftfy"] = hidden


def tokenizer_cases(fixture, folder, texts=TEXTS):
    """The texts go into tokenizer_texts.json beside the ids, so that nothing has to be unescaped from metadata."""
    ways = {
        "slow": ("transformers.CLIPTokenizer without ftfy (BasicTokenizer)", load_tokenizer(folder)),
        "fast": ("transformers.CLIPTokenizerFast", load_tokenizer(folder, fast=True)),
        "ftfy": ("transformers.CLIPTokenizer with ftfy", load_tokenizer(folder, ftfy=True)),
        "pad0": ('as slow, with pad_token "!" as in Stable Diffusion 2 and XL', load_tokenizer(folder, pad_token="!")),
    }
    assert ways["ftfy"][1].fix_text is not None and ways["slow"][1].fix_text is None
    case = CaseFile(fixture, "tokenizer", texts="tokenizer_texts.json: a list of strings, row by row")
    ids = {way: tokenize(tokenizer, texts) for way, (_, tokenizer) in ways.items()}
    for way, (meaning, _) in ways.items():
        case.add(f"ids.{way}", ids[way], f"{meaning}, padded and truncated to {TOKENS}")
    case.write()
    with open(os.path.join(FIXTURES, fixture, "tokenizer_texts.json"), "w", encoding="utf-8") as out:
        json.dump(texts, out, ensure_ascii=True, indent=1)
        out.write("\n")
    return {way: [i for i in range(len(texts)) if not ids[way][i].equal(ids["slow"][i])] for way in ("fast", "ftfy")}


# ---------------------------------------------------------------------------------------------- random numbers

SIZES = [(1,), (5,), (15,), (16,), (17,), (31,), (32,), (100,), (4096,), (1, 4, 64, 64)]
SEEDS = [0, 1, 42, 2**31 + 7, 2**32 + 1, 2**63 + 12345]

# One generator, one draw after the other: short normals keep a second value for later, long ones don't.
SEQUENCE = (
    "rand3 randint5 randn1 randn1 randn5 rand1 randn3 randn16 randn1 randn17 randint1 randn15 randn32 rand2 randn2"
)


def draw(kind, shape, rng):
    if kind == "randint":
        return torch.randint(1, 50, shape, generator=rng)
    return (torch.rand if kind == "rand" else torch.randn)(shape, generator=rng)


def philox4x32(counter, key, rounds=10):
    """Philox-4x32 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
    counter [n,4] and key [n,2] hold 32-bit words in uint64; so does the result [n,4]."""
    low = np.uint64(0xFFFFFFFF)
    x, (k0, k1) = counter.astype(np.uint64).T.copy(), key.astype(np.uint64).T.copy()
    for _ in range(rounds):
        first, second = x[0] * np.uint64(0xD2511F53), x[2] * np.uint64(0xCD9E8D57)
        x = np.stack(
            [(second >> np.uint64(32)) ^ x[1] ^ k0, second & low, (first >> np.uint64(32)) ^ x[3] ^ k1, first & low]
        )
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
    return x.T


def philox_randn(seed, call, shape):
    """The normals that `torch.randn(shape, device="cuda")` gives on its call number `call` after manual_seed(seed),
    for up to a few hundred thousand elements (beyond, it depends on the GPU): element i is the first Box-Muller
    normal of counter (call, 0, i, 0) under the key seed."""
    n = int(np.prod(shape))
    counter = np.zeros((n, 4), np.uint64)
    counter[:, 0], counter[:, 2] = call, np.arange(n)
    key = np.array([[seed & 0xFFFFFFFF, seed >> 32]], np.uint64).repeat(n, 0)
    words = philox4x32(counter, key)
    scale = np.float32(2.0**-32)
    u = words[:, 0].astype(np.float32) * scale + scale / 2
    angle = words[:, 1].astype(np.float32) * (scale * np.float32(2 * np.pi)) + scale * np.float32(np.pi)
    return torch.from_numpy((np.sqrt(-2 * np.log(u)) * np.sin(angle)).astype(np.float32).reshape(shape))


def check_philox():
    known = [  # Random123's tests/kat_vectors, "philox4x32 10": counter, key, result
        "00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8",
        "ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd",
        "243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1",
    ]
    words = np.array([[int(word, 16) for word in line.split()] for line in known], np.uint64)
    assert (philox4x32(words[:, :4], words[:, 4:6]) == words[:, 6:]).all()
    # torch.manual_seed(0); torch.randn(8, 8, device="cuda"), as people print it who have such a GPU
    printed = """
        -0.9247 -0.4253 -2.6438  0.1452 -0.1209 -0.5797 -0.6229 -0.3284 -1.0745 -0.3631 -1.6711  2.2655  0.3117 -0.1842
         1.2866  1.1820 -0.1271  1.2169  1.4353  1.0605 -0.4941 -1.4244 -0.7244 -1.2973  0.0697 -0.0074  1.8969  0.6878
        -0.0779 -0.8373  1.3506 -0.2879 -0.5965 -0.3283 -0.9086 -0.8059 -0.7407 -0.0504  0.5435  1.5150  0.0141  0.4532
         1.6349  0.7124 -0.1806  1.0252 -1.4622 -0.7554 -0.1836  0.3824  0.3918 -0.0830  0.8971 -1.1123  0.1116  0.4863
        -0.5499 -0.3231 -0.5469  0.9049  0.2837  0.1210  0.4730 -1.0823""".split()
    ours = philox_randn(0, 0, (64,)).tolist()
    assert all(abs(value - float(text)) < 6e-5 for value, text in zip(ours, printed))


def rng_cases():
    check_philox()
    case = CaseFile("rng", "rng", seeds=SEEDS, sequence=SEQUENCE)
    case.add(
        "seeds", torch.tensor([seed - 2**64 if seed >= 2**63 else seed for seed in SEEDS]), "as unsigned 64-bit numbers"
    )
    for number, seed in enumerate(SEEDS):
        long_too = number in (0, 4)
        for size in SIZES if long_too else SIZES[:-2]:
            name = "x".join(map(str, size))
            for kind in ("rand", "randint", "randn"):
                if name != "1x4x64x64" or kind == "randn":
                    case.add(f"seed{number}.{kind}.{name}", draw(kind, size, torch.Generator().manual_seed(seed)))
        rng = torch.Generator().manual_seed(seed)
        for position, item in enumerate(SEQUENCE.split()):
            kind = item.rstrip("0123456789")
            case.add(f"seed{number}.sequence.{position}.{item}", draw(kind, (int(item[len(kind) :]),), rng))
        torch.manual_seed(seed)
        for name, module in ("linear", nn.Linear(7, 5)), ("conv", nn.Conv2d(3, 4, 3)):
            case.add(f"seed{number}.{name}.weight", module.weight)
            case.add(f"seed{number}.{name}.bias", module.bias)
        torch.manual_seed(seed)
        down, up = nn.Linear(12, 4, bias=False), nn.Linear(4, 9, bias=False)
        case.add(f"seed{number}.lora.default_down", down.weight)
        case.add(f"seed{number}.lora.default_up", up.weight)
        case.add(f"seed{number}.lora.down", nn.init.kaiming_uniform_(down.weight.detach(), a=5**0.5))
        for size in ((5,), (17,), (1, 4, 32, 32)) if long_too else ((5,), (17,)):
            name = "x".join(map(str, size))
            case.add(f"seed{number}.philox.{name}.call0", philox_randn(seed, 0, size))
            case.add(f"seed{number}.philox.{name}.call1", philox_randn(seed, 1, size))
    case.describe("seed<n>.<kind>.<size>", "manual_seed(seeds[n]), then one rand, randint(1, 50) or randn of that size")
    case.describe("seed<n>.sequence.<i>.<kind><size>", "one generator, draw after draw")
    case.describe("seed<n>.linear|conv.*", "manual_seed, nn.Linear(7, 5), nn.Conv2d(3, 4, 3) in this order")
    case.describe(
        "seed<n>.lora.*",
        "manual_seed, Linear(12, 4), Linear(4, 9), then kaiming_uniform_(a=sqrt 5) of the first; no biases",
    )
    case.describe("seed<n>.philox.<size>.call<c>", "first and second randn of that size of torch's CUDA generator")
    case.write()


# ------------------------------------------------------------------------------------------------ schedules


def scheduler_cases():
    case = CaseFile("scheduler", "scheduler", betas=SCHEDULE, seed=seed_of("scheduler"))
    ways = {
        "offset1": dict(steps_offset=1, set_alpha_to_one=False),
        "offset0": dict(steps_offset=0, set_alpha_to_one=True),
    }
    rng = generator("scheduler")
    for way, options in ways.items():
        for steps in (1, 2, 7, 10, 25, 30, 40, 50):
            scheduler = DDIMScheduler(**SCHEDULE, **options, clip_sample=False)
            scheduler.set_timesteps(steps)
            case.add(f"{way}.timesteps.{steps}", scheduler.timesteps, may_vanish=True)
        case.add(f"{way}.final_alpha_cumprod", scheduler.final_alpha_cumprod.reshape(1), f"{options}")
    case.describe("<way>.timesteps.<S>", "DDIMScheduler.set_timesteps(S)")
    case.add("betas", scheduler.betas, "float32")
    case.add("alphas_cumprod", scheduler.alphas_cumprod, "float32 cumulative product")
    for way, options in ways.items():
        for prediction in ("epsilon", "v_prediction"):
            for steps in (7, 25):
                scheduler = DDIMScheduler(**SCHEDULE, **options, clip_sample=False, prediction_type=prediction)
                scheduler.set_timesteps(steps)
                exact = Schedule(scheduler.config, steps)
                outputs = torch.randn(steps, 1, 4, 3, 2, generator=rng)
                states = [torch.randn(1, 4, 3, 2, generator=rng)]
                twin = states[0].double()
                for t, output in zip(scheduler.timesteps, outputs):
                    states.append(scheduler.step(output, t, states[-1]).prev_sample)
                    twin = exact.step(output.double(), int(t), twin)
                assert relative_error(states[-1], twin) < 1e-5
                case.add(f"{way}.{prediction}.{steps}.model_output", outputs)
                case.add(f"{way}.{prediction}.{steps}.x", torch.stack(states))
    case.describe("<way>.<prediction>.<S>.model_output", "[S,1,4,3,2] given model outputs, one a step")
    case.describe("<way>.<prediction>.<S>.x", "[S+1,1,4,3,2] the start and the state after every step (DDIM, eta 0)")
    case.write()
    euler_cases()


def euler_cases():
    case = CaseFile("scheduler", "euler", betas=SCHEDULE, seed=seed_of("euler"))
    rng = generator("euler")
    for offset in (0, 1):
        options = dict(steps_offset=offset, timestep_spacing="leading")
        for steps in (1, 2, 7, 10, 25, 30, 40, 50):
            scheduler = EulerDiscreteScheduler(**SCHEDULE, **options)
            scheduler.set_timesteps(steps)
            case.add(f"offset{offset}.timesteps.{steps}", scheduler.timesteps.long(), may_vanish=True)
            case.add(f"offset{offset}.noise_scale.{steps}", scheduler.init_noise_sigma.reshape(1))
        for prediction in ("epsilon", "v_prediction"):
            for steps in (7, 25):
                scheduler = EulerDiscreteScheduler(**SCHEDULE, **options, prediction_type=prediction)
                scheduler.set_timesteps(steps)
                outputs = torch.randn(steps, 1, 4, 3, 2, generator=rng)
                states, seen = [torch.randn(1, 4, 3, 2, generator=rng) * scheduler.init_noise_sigma], []
                for t, output in zip(scheduler.timesteps, outputs):
                    seen.append(scheduler.scale_model_input(states[-1], t))
                    states.append(scheduler.step(output, t, states[-1]).prev_sample)
                case.add(f"offset{offset}.{prediction}.{steps}.model_output", outputs)
                case.add(f"offset{offset}.{prediction}.{steps}.x", torch.stack(states))
                case.add(f"offset{offset}.{prediction}.{steps}.x_t", torch.stack(seen))
    case.describe("offset<o>.timesteps.<S>", 'EulerDiscreteScheduler.set_timesteps(S), "leading", steps_offset o')
    case.describe("offset<o>.noise_scale.<S>", "its init_noise_sigma")
    case.describe("offset<o>.<prediction>.<S>.model_output", "[S,1,4,3,2] given model outputs, one a step")
    case.describe("offset<o>.<prediction>.<S>.x", "[S+1,1,4,3,2] the start and the state after every step")
    case.describe("offset<o>.<prediction>.<S>.x_t", "[S,1,4,3,2] the states as the model sees them")
    case.write()
