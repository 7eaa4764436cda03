"""Tokenizers and text encoders of the two models.

A tokenizer is CLIP's kind of byte-level BPE: 256 bytes, 256 bytes that end a word, merges, <|startoftext|>, <|endoftext|>.
Its merges are learnt from the captions of its own world alone, until each of their words is one token.
"""

import json
import re
from collections import Counter

import numpy as np
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from transformers.models.clip.tokenization_clip import bytes_to_unicode

import common
import world

CAPTIONS = 20000
SEED = 31
LENGTH = 77


def _words(name):
    """How often each word occurs in captions of a world."""
    pictures = world.WORLDS[name]
    counts = Counter()
    for index in range(CAPTIONS):
        rng = np.random.default_rng([SEED, index])
        counts.update(re.findall(r"[a-z]+|[^\sa-z]", world.caption(world.sample(pictures, rng), rng)))
    return counts


def _merges(counts):
    """Byte-pair merges, the most frequent pair first (ties: the alphabetically first), until every word is one token."""
    spelling = {word: (*word[:-1], word[-1] + "</w>") for word in counts}
    merges = []
    while True:
        pairs = Counter()
        for word, parts in spelling.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += counts[word]
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word, parts in spelling.items():
            joined, i = [], 0
            while i < len(parts):
                step = 2 if parts[i : i + 2] == best else 1
                joined.append("".join(parts[i : i + step]))
                i += step
            spelling[word] = tuple(joined)


def build_tokenizer(name):
    """The CLIPTokenizer of a model, made from its world's captions."""
    merges = _merges(_words(name))
    symbols = list(bytes_to_unicode().values())
    tokens = symbols + [symbol + "</w>" for symbol in symbols] + ["".join(pair) for pair in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    folder = common.SCRATCH / f"{name}-tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    return CLIPTokenizer(folder / "vocab.json", folder / "merges.txt", model_max_length=LENGTH)


SHAPES = {
    "shapes": {"hidden_size": 128, "intermediate_size": 384, "num_attention_heads": 4, "hidden_act": "quick_gelu"},
    "shapes-v": {"hidden_size": 160, "intermediate_size": 320, "num_attention_heads": 5, "hidden_act": "gelu"},
}


def build_encoder(name, tokenizer):
    """The CLIPTextModel of a model, with random weights."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=LENGTH,
        num_hidden_layers=2,
        projection_dim=SHAPES[name]["hidden_size"],
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **SHAPES[name],
    )
    return CLIPTextModel(config)


def tokenize(tokenizer, captions):
    """int64 [N, 77], padded as the pipeline does."""
    batch = tokenizer(captions, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
    return batch.input_ids
