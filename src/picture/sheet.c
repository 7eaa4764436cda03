#include "picture/sheet.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "picture/font.h"

enum {
    MARGIN = 16,
    GAP = 6,
    LABEL_WIDTH = 190,   /* of the rows' texts at most */
    SMALLEST_CELL = 128, /* smaller pictures are enlarged by a whole factor */
    LARGEST_SIDE = 16384
};

static const color ink = {0x20, 0x20, 0x20}, faint = {0x70, 0x70, 0x70};

struct sheet {
    image image;
    size_t rows, columns;
    int picture_width, picture_height;
    int factor, cell_width, cell_height;
    int label_width, title_height, header_height;
};

/* The widest line of a text when wrapped at `width`, and the height of all its lines. */
static void measure(const char *text, int width, int *widest, int *height)
{
    *widest = *height = 0;
    const char *next;
    for (const char *at = text; *at; at = next) {
        int line = font_width(at, font_line(at, width, &next));
        if (line > *widest) *widest = line;
        *height += font_size.line;
    }
}

static void draw_wrapped(image *img, int x, int y, int width, const char *text, color c)
{
    const char *next;
    for (const char *at = text; *at; at = next) {
        size_t length = font_line(at, width, &next);
        font_draw(img, x, y, at, length, c);
        y += font_size.line;
    }
}

/* Of its text: a narrow one's may stand out on both sides by half the gap. */
static int column_room(const sheet *s)
{
    return s->cell_width + GAP;
}

/* Where everything goes, and how large the sheet becomes. */
static leco_status lay_out(sheet *s, const sheet_spec *spec, int *width, int *height, leco_error *err)
{
    s->factor = (SMALLEST_CELL + spec->width - 1) / spec->width;
    s->cell_width = spec->width * s->factor;
    s->cell_height = spec->height * s->factor;
    int widest, tall;
    for (size_t i = 0; i < (spec->row ? s->rows : 1); i++) {
        measure(spec->row ? spec->row[i] : spec->widest, LABEL_WIDTH, &widest, &tall);
        if (widest > s->label_width) s->label_width = widest;
        if (tall > s->cell_height) s->cell_height = tall; /* a long text beside a small picture */
    }
    const double across = 2.0 * MARGIN + s->label_width + 2.0 * GAP + (double)s->columns * (s->cell_width + GAP) - GAP;
    measure(spec->title, (int)across - 2 * MARGIN, &widest, &s->title_height);
    s->title_height += GAP;
    s->header_height = font_size.line;
    for (size_t i = 0; i < s->columns; i++) {
        measure(spec->column[i], column_room(s), &widest, &tall);
        if (tall > s->header_height) s->header_height = tall;
    }
    s->header_height += GAP;
    const double down =
        2.0 * MARGIN + s->title_height + s->header_height + (double)s->rows * (s->cell_height + GAP) - GAP;
    if (across > LARGEST_SIDE || down > LARGEST_SIDE)
        return error_set(err, LECO_INVALID, "the sheet would be %.0fx%.0f pixels; at most %d a side", across, down,
                         LARGEST_SIDE);
    *width = (int)across;
    *height = (int)down;
    return LECO_OK;
}

static int column_x(const sheet *s, size_t column)
{
    return MARGIN + s->label_width + 2 * GAP + (int)column * (s->cell_width + GAP);
}

static int row_y(const sheet *s, size_t row)
{
    return MARGIN + s->title_height + s->header_height + (int)row * (s->cell_height + GAP);
}

/* Each line in the middle above the column. */
static void draw_header(sheet *s, size_t column, const char *text)
{
    const char *next;
    int y = MARGIN + s->title_height;
    for (const char *at = text; *at; at = next) {
        const size_t length = font_line(at, column_room(s), &next);
        font_draw(&s->image, column_x(s, column) + (s->cell_width - font_width(at, length)) / 2, y, at, length, ink);
        y += font_size.line;
    }
}

void sheet_label(sheet *s, size_t row, const char *text)
{
    int widest, tall;
    const int top = row_y(s, row);
    assert(row < s->rows);
    for (int y = 0; y < s->cell_height; y++)
        memset(s->image.rgb + 3 * ((size_t)(top + y) * (size_t)s->image.width + MARGIN), 0xff,
               3 * (size_t)s->label_width);
    measure(text, LABEL_WIDTH, &widest, &tall);
    draw_wrapped(&s->image, MARGIN, top + (s->cell_height - tall) / 2, LABEL_WIDTH, text, ink);
}

static void draw_texts(sheet *s, const sheet_spec *spec)
{
    draw_wrapped(&s->image, MARGIN, MARGIN, s->image.width - 2 * MARGIN, spec->title, faint);
    for (size_t i = 0; i < s->columns; i++) draw_header(s, i, spec->column[i]);
    for (size_t i = 0; i < s->rows && spec->row; i++) sheet_label(s, i, spec->row[i]);
}

leco_status sheet_measure(const sheet_spec *spec, size_t *bytes, leco_error *err)
{
    sheet s = {.rows = spec->rows, .columns = spec->columns};
    int width = 0, height = 0;
    LECO_TRY(lay_out(&s, spec, &width, &height, err));
    *bytes = sizeof s + 3 * (size_t)width * (size_t)height;
    return LECO_OK;
}

leco_status sheet_create(const sheet_spec *spec, sheet **out, leco_error *err)
{
    *out = NULL;
    sheet *s = mem_calloc(1, sizeof *s);
    if (!s) return error_memory(err, sizeof *s, "a contact sheet");
    s->rows = spec->rows;
    s->columns = spec->columns;
    s->picture_width = spec->width;
    s->picture_height = spec->height;
    int width = 0, height = 0;
    leco_status status = lay_out(s, spec, &width, &height, err);
    if (status == LECO_OK) status = image_create(width, height, &s->image, err);
    if (status != LECO_OK) {
        sheet_destroy(s);
        return status;
    }
    memset(s->image.rgb, 0xff, 3 * (size_t)width * (size_t)height);
    draw_texts(s, spec);
    *out = s;
    return LECO_OK;
}

void sheet_destroy(sheet *s)
{
    if (!s) return;
    image_free(&s->image);
    mem_free(s);
}

void sheet_put(sheet *s, size_t row, size_t column, const image *picture)
{
    assert(row < s->rows && column < s->columns);
    assert(picture->width == s->picture_width && picture->height == s->picture_height);
    const int left = column_x(s, column), top = row_y(s, row);
    for (int y = 0; y < picture->height * s->factor; y++) {
        uint8_t *to = s->image.rgb + 3 * ((size_t)(top + y) * (size_t)s->image.width + (size_t)left);
        const uint8_t *from = picture->rgb + 3 * (size_t)(y / s->factor) * (size_t)picture->width;
        for (int x = 0; x < picture->width * s->factor; x++) memcpy(to + 3 * x, from + 3 * (x / s->factor), 3);
    }
}

image *sheet_image(sheet *s)
{
    return &s->image;
}

image sheet_top(const sheet *s, size_t rows)
{
    const int height = row_y(s, rows) - (rows ? GAP : 0) + MARGIN;
    return (image){s->image.width, height, s->image.rgb};
}

bool sheet_take_top(sheet *s, const image *top, size_t rows)
{
    const image wanted = sheet_top(s, rows);
    if (rows > s->rows || top->width != wanted.width || top->height < wanted.height) return false;
    const size_t stride = 3 * (size_t)wanted.width, first = (size_t)row_y(s, 0) * stride;
    memcpy(s->image.rgb + first, top->rgb + first, (size_t)(wanted.height - MARGIN) * stride - first);
    return true;
}
