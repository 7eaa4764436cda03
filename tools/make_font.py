#!/usr/bin/env python3
"""Draws src/picture/font_data.c: the ASCII letters of DejaVu Sans as small grey pictures, for the texts of contact sheets.

    python3 tools/make_font.py > src/picture/font_data.c        # needs Pillow and fonts-dejavu-core

So that a sheet looks the same everywhere and needs neither fonts nor a font library. DejaVu's licence (a superset of
Bitstream Vera's) allows it.
"""

import sys

from PIL import Image, ImageDraw, ImageFont

FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"
SIZE = 15

font = ImageFont.truetype(FONT, SIZE, layout_engine=ImageFont.Layout.BASIC)
ascent, descent = font.getmetrics()
out = sys.stdout
out.write(f"/* Made by tools/make_font.py from DejaVu Sans, {SIZE} pixels; see font.h. DejaVu fonts are free to copy and change. */\n")
out.write('#include "picture/font.h"\n\n/* clang-format off */\n')
out.write(f"const font_metrics font_size = {{{ascent + descent}, {ascent}}};\n\n")
out.write("const font_glyph font_glyphs[FONT_LAST - FONT_FIRST + 1] = {\n")
for code in range(32, 127):
    letter = chr(code)
    left, top, right, bottom = font.getbbox(letter)
    width, height = right - left, bottom - top
    if letter == " ":
        width = height = 0
    image = Image.new("L", (max(width, 1), max(height, 1)), 0)
    ImageDraw.Draw(image).text((-left, -top), letter, fill=255, font=font)
    rows = ["".join(f"{(image.getpixel((x, y)) * 15 + 127) // 255:x}" for x in range(width)) for y in range(height)]
    advance = round(font.getlength(letter))
    out.write(f"    {{{advance}, {left}, {top}, {width}, {height},")
    out.write(" /* %s */\n" % ("*" if letter == "*" else letter))
    out.write("".join(f'     "{row}"\n' for row in rows) if rows else '     ""\n')
    out.write("    },\n")
out.write("};\n/* clang-format on */\n")
