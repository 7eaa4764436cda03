/* A contact sheet: prompts down, weights of the last LoRA across. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "api/locale.h"
#include "base/arena.h"
#include "base/mem.h"
#include "picture/sheet.h"

enum { MAX_WEIGHTS = 64 };

/* A grid in the making. */
typedef struct grid {
    leco_model *handle;
    draw_request request;
    const float *weights;
    size_t rows, columns;
    arena *memory; /* of texts */
    sheet *sheet;
    char *parameters; /* of the first picture */
} grid;

static const char *make_title(const grid *g)
{
    const leco_model *handle = g->handle;
    const leco_generate_options *o = g->request.options;
    const char *slash = strrchr(handle->model->folder, '/');
    const long long first = g->request.seed, last = (long long)((uint64_t)first + g->rows - 1);
    char seeds[64], label[SAMPLING_LABEL];
    snprintf(seeds, sizeof seeds, g->rows > 1 ? "seeds %lld to %lld, one a row" : "seed %lld", first, last);
    return arena_printf(g->memory, "%s on %s. %s, %d steps, guidance scale %g, %s",
                        handle->lora[handle->lora_count - 1].name,
                        slash && slash[1] ? slash + 1 : handle->model->folder,
                        sampling_label(&g->request.sampling, label), o->steps, o->guidance_scale, seeds);
}

static leco_status make_sheet(grid *g, leco_error *err)
{
    const char **row = arena_alloc(g->memory, g->rows, sizeof *row);
    const char **column = arena_alloc(g->memory, g->columns, sizeof *column);
    const char *title = make_title(g);
    bool there = row && column && title;
    for (size_t i = 0; there && i < g->rows; i++) row[i] = g->request.texts[i].prompt;
    for (size_t i = 0; there && i < g->columns; i++) {
        column[i] = g->weights[i] == 0 ? "without LoRA" : arena_printf(g->memory, "LoRA %g", (double)g->weights[i]);
        there = column[i] != NULL;
    }
    if (!there) return error_memory(err, 0, "a sheet's texts");
    const sheet_spec spec = {.title = title,
                             .row = row,
                             .column = column,
                             .rows = g->rows,
                             .columns = g->columns,
                             .width = g->request.width,
                             .height = g->request.height};
    return sheet_create(&spec, &g->sheet, err);
}

static leco_status draw_column(grid *g, size_t column, leco_error *err)
{
    leco_images drawn;
    size_t done;
    LECO_TRY(leco_model_set_lora_weight(g->handle, g->handle->lora_count - 1, g->weights[column], err));
    LECO_TRY(images_create(g->rows, &drawn, err));
    g->request.before = column * g->rows;
    leco_status status = draw_pictures(g->handle, &g->request, &drawn, &done, err);
    for (size_t row = 0; row < g->rows && status == LECO_OK; row++) {
        const leco_image *picture = &drawn.image[row];
        sheet_put(g->sheet, row, column, &(image){picture->width, picture->height, picture->rgb});
    }
    if (status == LECO_OK && !g->parameters) {
        g->parameters = drawn.parameters[0];
        drawn.parameters[0] = NULL;
    }
    leco_images_free(&drawn);
    return status;
}

static leco_status draw_grid(grid *g, leco_images *out, leco_error *err)
{
    LECO_TRY(make_sheet(g, err));
    for (size_t column = 0; column < g->columns; column++) LECO_TRY(draw_column(g, column, err));
    LECO_TRY(images_create(1, out, err));
    image *made = sheet_image(g->sheet); /* changes hands */
    out->image[0] = (leco_image){made->width, made->height, made->rgb};
    out->parameters[0] = g->parameters;
    made->rgb = NULL;
    g->parameters = NULL;
    return LECO_OK;
}

leco_status leco_grid(leco_model *handle, const leco_generate_options *options, const float *columns,
                      size_t weight_count, leco_images *out, leco_error *err)
{
    IN_C_LOCALE;
    if (handle->lora_count == 0) return error_set(err, LECO_INVALID, "a grid needs a LoRA");
    if (weight_count < 1 || weight_count > MAX_WEIGHTS)
        return error_set(err, LECO_INVALID, "%zu weights: expected 1 to %d", weight_count, MAX_WEIGHTS);
    for (size_t i = 0; i < weight_count; i++)
        if (!isfinite(columns[i])) return error_set(err, LECO_INVALID, "weight %zu is not a finite number", i + 1);
    if (options->latents) return error_set(err, LECO_INVALID, "a grid draws its own noise; latents can't be given");
    grid g = {.handle = handle, .weights = columns, .columns = weight_count};
    leco_status status = draw_check(handle, options, &g.request, err);
    g.rows = g.request.overall;
    g.request.overall *= g.columns;
    const size_t last = handle->lora_count - 1;
    const float before = handle->lora[last].weight;
    g.memory = g.request.memory;
    if (status == LECO_OK) status = draw_grid(&g, out, err);
    mem_free(g.parameters);
    sheet_destroy(g.sheet);
    draw_request_free(&g.request);
    leco_status restored = leco_model_set_lora_weight(handle, last, before, status == LECO_OK ? err : NULL);
    return status == LECO_OK ? restored : status;
}
