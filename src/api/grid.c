/* Contact sheets: prompts down, weights of the last LoRA across. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/font.h"
#include "api/internal.h"
#include "api/locale.h"
#include "base/cpu.h"
#include "base/mem.h"

enum {
    MARGIN = 16,
    GAP = 6,
    LABEL_WIDTH = 190,   /* of the prompts' column at most */
    SMALLEST_CELL = 128, /* smaller pictures are enlarged by a whole factor */
    LARGEST_SIDE = 16384,
    MAX_WEIGHTS = 64
};

static const color ink = {0x20, 0x20, 0x20}, faint = {0x70, 0x70, 0x70};

/* Where things go. */
typedef struct layout {
    const leco_generate_options *options;
    const draw_request *request;
    const float *weights;
    const char *title;
    size_t rows, columns;
    int factor, cell_width, cell_height;
    int label_width, title_height, header_height;
} layout;

static const char *prompt_of(const layout *l, size_t row)
{
    return l->options->prompts[row / (size_t)l->options->images_per_prompt];
}

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

static leco_status plan(layout *l, int *width, int *height, leco_error *err)
{
    const int w = l->request->width, h = l->request->height;
    l->factor = (SMALLEST_CELL + w - 1) / w;
    l->cell_width = w * l->factor;
    l->cell_height = h * l->factor;
    int widest, tall;
    for (size_t i = 0; i < l->rows; i++) {
        measure(prompt_of(l, i), LABEL_WIDTH, &widest, &tall);
        if (widest > l->label_width) l->label_width = widest;
        if (tall > l->cell_height) l->cell_height = tall; /* a long prompt beside a small picture */
    }
    const double across = 2.0 * MARGIN + l->label_width + 2.0 * GAP + (double)l->columns * (l->cell_width + GAP) - GAP;
    measure(l->title, (int)across - 2 * MARGIN, &widest, &l->title_height);
    l->title_height += GAP;
    l->header_height = font_size.line + GAP;
    const double down =
        2.0 * MARGIN + l->title_height + l->header_height + (double)l->rows * (l->cell_height + GAP) - GAP;
    if (across > LARGEST_SIDE || down > LARGEST_SIDE)
        return error_set(err, LECO_INVALID, "the sheet would be %.0fx%.0f pixels; at most %d a side", across, down,
                         LARGEST_SIDE);
    *width = (int)across;
    *height = (int)down;
    return LECO_OK;
}

static int column_x(const layout *l, size_t column)
{
    return MARGIN + l->label_width + 2 * GAP + (int)column * (l->cell_width + GAP);
}

static int row_y(const layout *l, size_t row)
{
    return MARGIN + l->title_height + l->header_height + (int)row * (l->cell_height + GAP);
}

static void draw_texts(image *sheet, const layout *l)
{
    draw_wrapped(sheet, MARGIN, MARGIN, sheet->width - 2 * MARGIN, l->title, faint);
    for (size_t i = 0; i < l->columns; i++) {
        char text[64];
        snprintf(text, sizeof text, l->weights[i] == 0 ? "without LoRA" : "LoRA %g", (double)l->weights[i]);
        int x = column_x(l, i) + (l->cell_width - font_width(text, strlen(text))) / 2;
        font_draw(sheet, x, MARGIN + l->title_height, text, strlen(text), ink);
    }
    for (size_t i = 0; i < l->rows; i++) {
        int widest, tall;
        measure(prompt_of(l, i), LABEL_WIDTH, &widest, &tall);
        draw_wrapped(sheet, MARGIN, row_y(l, i) + (l->cell_height - tall) / 2, LABEL_WIDTH, prompt_of(l, i), ink);
    }
}

/* Enlarges a picture by whole pixels, so that it stays what the model drew. */
static void draw_picture(image *sheet, const layout *l, size_t row, size_t column, const leco_image *picture)
{
    const int left = column_x(l, column), top = row_y(l, row);
    for (int y = 0; y < picture->height * l->factor; y++) {
        uint8_t *to = sheet->rgb + 3 * ((size_t)(top + y) * (size_t)sheet->width + (size_t)left);
        const uint8_t *from = picture->rgb + 3 * (size_t)(y / l->factor) * (size_t)picture->width;
        for (int x = 0; x < picture->width * l->factor; x++) memcpy(to + 3 * x, from + 3 * (x / l->factor), 3);
    }
}

static char *make_title(const leco_model *handle, const draw_request *request)
{
    const leco_generate_options *o = request->options;
    const char *slash = strrchr(handle->model->folder, '/');
    return mem_printf("%s on %s. DDIM, %d steps, guidance scale %g, seed %lld%s",
                      handle->lora[handle->lora_count - 1].name, slash && slash[1] ? slash + 1 : handle->model->folder,
                      o->steps, o->guidance_scale, (long long)request->seed, request->overall > 1 ? " and on" : "");
}

/* Draws all pictures column by column. */
static leco_status draw_columns(leco_model *handle, draw_request request, layout *l, image *sheet, char **parameters,
                                leco_error *err)
{
    const size_t last = handle->lora_count - 1;
    request.overall *= l->columns;
    for (size_t column = 0; column < l->columns; column++) {
        leco_images column_images;
        size_t done;
        LECO_TRY(leco_model_set_lora_weight(handle, last, l->weights[column], err));
        LECO_TRY(images_create(l->rows, &column_images, err));
        request.before = column * l->rows;
        leco_status status = draw_pictures(handle, &request, &column_images, &done, err);
        for (size_t row = 0; row < l->rows && status == LECO_OK; row++)
            draw_picture(sheet, l, row, column, &column_images.image[row]);
        if (status == LECO_OK && !*parameters) {
            *parameters = column_images.parameters[0];
            column_images.parameters[0] = NULL;
        }
        leco_images_free(&column_images);
        if (status != LECO_OK) return status;
    }
    return LECO_OK;
}

static leco_status draw_sheet(leco_model *handle, const draw_request *request, layout *l, leco_images *out,
                              leco_error *err)
{
    int width = 0, height = 0;
    LECO_TRY(plan(l, &width, &height, err));
    leco_images made;
    image sheet;
    LECO_TRY(images_create(1, &made, err));
    leco_status status = image_create(width, height, &sheet, err);
    if (status != LECO_OK) {
        leco_images_free(&made);
        return status;
    }
    memset(sheet.rgb, 0xff, 3 * (size_t)width * (size_t)height);
    made.image[0] = (leco_image){width, height, sheet.rgb};
    draw_texts(&sheet, l);
    status = draw_columns(handle, *request, l, &sheet, &made.parameters[0], err);
    if (status == LECO_OK)
        *out = made;
    else
        leco_images_free(&made);
    return status;
}

leco_status leco_grid(leco_model *handle, const leco_generate_options *options, const float *columns,
                      size_t weight_count, leco_images *sheet, leco_error *err)
{
    IN_C_LOCALE;
    if (handle->lora_count == 0) return error_set(err, LECO_INVALID, "a grid needs a LoRA");
    if (weight_count < 1 || weight_count > MAX_WEIGHTS)
        return error_set(err, LECO_INVALID, "%zu weights: expected 1 to %d", weight_count, MAX_WEIGHTS);
    for (size_t i = 0; i < weight_count; i++)
        if (!isfinite(columns[i])) return error_set(err, LECO_INVALID, "weight %zu is not a finite number", i + 1);
    if (options->latents) return error_set(err, LECO_INVALID, "a grid draws its own noise; latents can't be given");
    draw_request request;
    LECO_TRY(draw_check(handle, options, &request, err));
    char *title = make_title(handle, &request);
    if (!title) return error_memory(err, 0, "a title");
    layout l = {.options = options,
                .request = &request,
                .weights = columns,
                .title = title,
                .rows = request.overall,
                .columns = weight_count};
    const size_t last = handle->lora_count - 1;
    const float before = handle->lora[last].weight;
    leco_status status = draw_sheet(handle, &request, &l, sheet, err);
    mem_free(title);
    leco_status restored = leco_model_set_lora_weight(handle, last, before, status == LECO_OK ? err : NULL);
    return status == LECO_OK ? restored : status;
}
