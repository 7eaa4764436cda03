#include "solve/readers.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "model/selection.h"
#include "solve/dense.h"

enum { SKETCH_SEED = 20020708 };

static leco_status get_weight(model *m, const layer_info *layer, arena *memory, const weight **out, leco_error *err)
{
    char *name = arena_printf(memory, "%s.weight", layer->path);
    weight *found;
    if (!name) return error_memory(err, strlen(layer->path), "a tensor's name");
    LECO_TRY(weights_get(m->weights[PART_UNET], name, SHAPE(layer->out, layer->in), &found, err));
    *out = found;
    return LECO_OK;
}

leco_status readers_find(model *m, arena *memory, readers *out, leco_error *err)
{
    const layer_selection strict = {.scope = SCOPE_LIERLA, .method = METHOD_XATTN_STRICT};
    const layer_list *list;
    LECO_TRY(model_layers(m, PART_UNET, &list, err));
    *out = (readers){.item = arena_alloc(memory, list->count, sizeof *out->item), .width = model_text_width(m)};
    if (!out->item) return error_memory(err, list->count * sizeof *out->item, "a list of layers");
    for (size_t i = 0; i < list->count; i++) {
        const layer_info *layer = &list->layer[i];
        if (!layer_selected(&strict, layer)) continue;
        if (layer->in != out->width)
            return error_set(err, LECO_UNSUPPORTED,
                             "%s: %s reads states of width %lld, but the text's are %lld wide: leco has no closed-form "
                             "edit of such a model",
                             m->folder, layer->path, (long long)layer->in, (long long)out->width);
        reader *r = &out->item[out->count++];
        r->layer = layer;
        LECO_TRY(get_weight(m, layer, memory, &r->weight, err));
    }
    if (out->count == 0)
        return error_set(err, LECO_UNSUPPORTED, "%s: its U-Net has no cross-attention to edit", m->folder);
    return LECO_OK;
}

leco_status reader_values(const reader *r, double *out, leco_error *err)
{
    const size_t count = (size_t)shape_count(&r->weight->shape);
    dtype_convert(out, DTYPE_F64, r->weight->data, r->weight->type, count);
    for (size_t i = 0; i < count; i++)
        if (!isfinite(out[i]))
            return error_set(err, LECO_FORMAT, "the U-Net's tensor \"%s\": value number %zu is not finite",
                             r->weight->name, i);
    return LECO_OK;
}

typedef struct summing {
    double *out;
    int64_t width;
    rng random;
} summing;

static void add_to_sketch(void *user, const double *matrix, int64_t rows)
{
    summing *s = user;
    for (int64_t row = 0; row < rows; row++) {
        const uint32_t word = rng_word(&s->random);
        const double sign = word & 1 ? 1 : -1;
        double *into = s->out + (word >> 1) % READERS_SKETCH;
        for (int64_t i = 0; i < s->width; i++) into[i * READERS_SKETCH] += sign * matrix[row * s->width + i];
    }
}

static void add_to_gram(void *user, const double *matrix, int64_t rows)
{
    const summing *s = user;
    dense_add_symmetric(matrix, matrix, s->width, rows, s->out);
}

/* The matrices themselves. */
static leco_status fill_values(const void *user, size_t index, double *out, leco_error *err)
{
    const readers *r = user;
    return reader_values(&r->item[index], out, err);
}

static leco_status sum_up(const readers *r, int64_t rows, void (*use)(void *, const double *, int64_t),
                          reader_fill fill, const void *user, arena *memory, double **out, leco_error *err)
{
    summing s = {.width = r->width, .out = dense_new(memory, rows, r->width, err)};
    if (!s.out) return LECO_MEMORY;
    rng_seed(&s.random, RNG_CPU, SKETCH_SEED);
    *out = s.out;
    leco_status status = LECO_OK;
    for (size_t i = 0; i < r->count && status == LECO_OK; i++) {
        arena *scratch = arena_create();
        if (!scratch) return error_memory(err, 0, "a matrix");
        double *matrix = dense_new(scratch, r->width, r->item[i].layer->out, err);
        status = matrix ? fill(user, i, matrix, err) : LECO_MEMORY;
        if (status == LECO_OK) use(&s, matrix, r->item[i].layer->out);
        arena_destroy(scratch);
    }
    return status;
}

leco_status readers_sketch_of(const readers *r, reader_fill fill, const void *user, arena *memory, double **out,
                              leco_error *err)
{
    return sum_up(r, READERS_SKETCH, add_to_sketch, fill, user, memory, out, err);
}

leco_status readers_sketch(const readers *r, arena *memory, double **out, leco_error *err)
{
    return readers_sketch_of(r, fill_values, r, memory, out, err);
}

leco_status readers_gram(const readers *r, arena *memory, double **out, leco_error *err)
{
    return sum_up(r, r->width, add_to_gram, fill_values, r, memory, out, err);
}
