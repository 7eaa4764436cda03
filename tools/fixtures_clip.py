#!/usr/bin/env python3
"""Writes tests/parity/fixtures/tokenizer/clip.txt: 2,000 texts and their ids by transformers' CLIPTokenizer (without ftfy),
with CLIP's own vocabulary (models/clip/). A line a text: the ids, a tab, the text as JSON.

    tools/fixtures_clip.py
"""

import json
import os
import random
import tempfile
import unicodedata

from transformers import CLIPTokenizer
from transformers.models.clip.tokenization_clip import bytes_to_unicode

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT = os.path.join(ROOT, "tests", "parity", "fixtures", "tokenizer", "clip.txt")
COUNT = 2000

WORDS = """a an the of in on at with by and red blue photo photograph painting portrait oil watercolor masterpiece
best quality highres 1girl solo looking at viewer cinematic lighting van gogh greg rutkowski artstation trending unreal
engine octane render 8k uhd detailed intricate smooth sharp focus bokeh f/1.8 35mm dslr fantasy castle dragon forest
sunset mountains river cyberpunk city neon lights astronaut riding horse cat dog corgi shiba inu cathedral baroque
don't it's we'll you're they've I'm he'd rock'n'roll state-of-the-art mother-in-law e-mail co-operate naïve café façade
über Straße smörgåsbord jalapeño déjà vu coöperate Ångström Þór Œuvre İstanbul ΑΒΓΔ ωμέγα Москва привет ёлка Київ
שלום עולם مرحبا بالعالم नमस्ते दुनिया สวัสดีชาวโลก 你好世界 東京 こんにちは カタカナ 한국어 안녕하세요 ខ្មែរ தமிழ் ქართული հայերեն
😀 👍🏽 👨‍👩‍👧‍👦 🇩🇪 ❤️ ☃ ★ ♥ → ∑ ∞ ½ ² ™ © ® € £ ¥ ° µ ß ſ ﬁ Ǆ ǅ ẞ ı K Å ０１２ ① Ⅷ ꙮ 𝓗𝓮𝓵𝓵𝓸 𐍈 u\u0308ber e\u0301 \u0345 \u200b \u200d \ufeff
<|startoftext|> <|endoftext|> <|ENDOFTEXT|> <lora:x:1> (red:1.3) [a|b] {a|b} __x__ BREAK AND &amp; &lt;b&gt; &quot;q&quot; &#39;
http://example.com/a?b=c&d=e user@example.org C++ C# .NET 3.14 1,000,000 2023-11-27 10:30 50% $9.99 #tag @name ~ ` ^ _ = + | \\ /""".split(" ")
SPACES = [" ", " ", " ", " ", "  ", "\t", "\n", "\u00a0", "\u3000", ", ", ",", ". ", " - ", "", "; ", "\r\n", "\u2009"]


def texts():
    r = random.Random(1234)
    out = ["", " ", "\n", "a", "A", "!", "é", "e\u0301", "ÀÉÎ", "x" * 300, "9" * 90, "a" * 77, "word " * 100, "'s", "'S", "''s",
           "can't've", "\x00", "\x01\x02", "\u0085", "\u2028", "\ufffd", "\U0010ffff", "a\u0301\u0302\u0303", "ﷺ", "ㄱㅏ", "İI", "ǰ"]
    while len(out) < COUNT:
        kind = r.random()
        if kind < 0.7:
            n = r.choice([1, 2, 3, 5, 8, 13, 30])
            text = "".join(r.choice(WORDS) + r.choice(SPACES) for _ in range(n))
        elif kind < 0.85:
            text = "".join(r.choice("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,;:!?'\"()-_/")
                           for _ in range(r.randint(1, 60)))
        else:
            blocks = [(0x20, 0x7e), (0xa0, 0x24f), (0x370, 0x52f), (0x590, 0x6ff), (0x900, 0xe7f), (0x1e00, 0x206f),
                      (0x20a0, 0x2bff), (0x3000, 0x30ff), (0x4e00, 0x9fff), (0xac00, 0xd7a3), (0xfb00, 0xffef),
                      (0x1f300, 0x1faff)]
            text = "".join(chr(r.randint(*r.choice(blocks))) for _ in range(r.randint(1, 25)))
        # Which characters there are not yet (they are left out) is a matter of Python's version.
        out.append("".join(c for c in text if unicodedata.category(c) != "Cn"))
    return out


def main():
    with open(os.path.join(ROOT, "models", "clip", "merges.txt"), encoding="utf-8") as f:
        merges = f.read().split("\n")[1:48895]
    tokens = list(bytes_to_unicode().values())
    tokens += [t + "</w>" for t in tokens] + [m.replace(" ", "") for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "vocab.json"), "w", encoding="utf-8") as f:
            json.dump({t: i for i, t in enumerate(tokens)}, f)
        tokenizer = CLIPTokenizer(os.path.join(folder, "vocab.json"), os.path.join(ROOT, "models", "clip", "merges.txt"))
    assert tokenizer.fix_text is None, "ftfy is installed"
    assert len(tokenizer) == 49408
    with open(OUT, "w", encoding="ascii") as f:
        for text in texts():
            ids = tokenizer(text, padding="max_length", truncation=True, max_length=77).input_ids
            end = ids.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in ids else 77
            while end < 77 and any(i != tokenizer.eos_token_id for i in ids[end:]):
                end += 1
            f.write(" ".join(str(i) for i in ids[1:end]) + "\t" + json.dumps(text) + "\n")


main()
