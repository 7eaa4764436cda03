/* The letters on contact sheets: ASCII, grey, one size. */
#ifndef LECO_PICTURE_FONT_H
#define LECO_PICTURE_FONT_H

#include "picture/png.h"

enum { FONT_FIRST = 32, FONT_LAST = 126 };

typedef struct font_metrics {
    int line; /* from one line to the next, pixels */
    int ascent;
} font_metrics;

typedef struct font_glyph {
    int advance;   /* to the next letter */
    int left, top; /* of its picture, from the pen and the top of the line */
    int width, height;
    const char *pixels; /* [height, width], one hexadecimal digit each: 0 paper to f ink */
} font_glyph;

extern const font_metrics font_size;
extern const font_glyph font_glyphs[FONT_LAST - FONT_FIRST + 1];

typedef struct color {
    uint8_t r, g, b;
} color;

/* Width of `length` bytes of UTF-8; characters beyond ASCII are drawn as '?'. */
int font_width(const char *text, size_t length);

/* Draws into img with the line's top left corner at (x, y); what falls outside is cut off. */
void font_draw(image *img, int x, int y, const char *text, size_t length, color ink);

/* The bytes of `text` that go on one line of at most `width` pixels: up to a space where there is one, at least one
 * character. *next gets where the following line starts. */
size_t font_line(const char *text, int width, const char **next);

#endif
