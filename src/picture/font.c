#include "picture/font.h"

#include <stdlib.h>
#include <string.h>

/* The next character: its glyph, and its bytes in *bytes. */
static const font_glyph *glyph_of(const char *text, size_t length, size_t *bytes)
{
    unsigned char c = (unsigned char)text[0];
    *bytes = 1;
    if (c >= 0xc0)
        while (*bytes < length && ((unsigned char)text[*bytes] & 0xc0) == 0x80) ++*bytes;
    if (c == '\t' || c == '\n') c = ' ';
    if (c < FONT_FIRST || c > FONT_LAST) c = '?';
    return &font_glyphs[c - FONT_FIRST];
}

int font_width(const char *text, size_t length)
{
    int width = 0;
    for (size_t i = 0, bytes; i < length; i += bytes) width += glyph_of(text + i, length - i, &bytes)->advance;
    return width;
}

static int ink_of(char digit)
{
    return digit <= '9' ? digit - '0' : digit - 'a' + 10;
}

static void blend(uint8_t *at, uint8_t target, int ink)
{
    *at = (uint8_t)((*at * (15 - ink) + target * ink + 7) / 15);
}

static void draw_glyph(image *img, int x, int y, const font_glyph *g, color c)
{
    for (int row = 0; row < g->height; row++) {
        for (int column = 0; column < g->width; column++) {
            const int px = x + g->left + column, py = y + g->top + row;
            if (px < 0 || py < 0 || px >= img->width || py >= img->height) continue;
            const int ink = ink_of(g->pixels[row * g->width + column]);
            uint8_t *at = img->rgb + 3 * ((size_t)py * (size_t)img->width + (size_t)px);
            blend(&at[0], c.r, ink);
            blend(&at[1], c.g, ink);
            blend(&at[2], c.b, ink);
        }
    }
}

void font_draw(image *img, int x, int y, const char *text, size_t length, color ink)
{
    for (size_t i = 0, bytes; i < length; i += bytes) {
        const font_glyph *g = glyph_of(text + i, length - i, &bytes);
        draw_glyph(img, x, y, g, ink);
        x += g->advance;
    }
}

size_t font_line(const char *text, int width, const char **next)
{
    const size_t length = strlen(text);
    size_t taken = 0, bytes, space = 0;
    int used = 0;
    while (taken < length) {
        if (text[taken] == ' ' || text[taken] == '\n') space = taken;
        used += glyph_of(text + taken, length - taken, &bytes)->advance;
        if (used > width && taken > 0) break;
        taken += bytes;
    }
    size_t line = taken < length && space > 0 ? space : taken;
    *next = text + line;
    while (**next == ' ' || **next == '\n') ++*next;
    return line;
}
