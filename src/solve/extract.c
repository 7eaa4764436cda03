#include "solve/extract.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/mem.h"
#include "solve/low_rank.h"

typedef struct extraction {
    model *base, *tuned;
    int64_t rank;
    work *work;
    thin_list list;
    thin_report *report;
} extraction;

static int64_t columns_of(const layer_info *l)
{
    return l->in * l->kernel * l->kernel;
}

/* The rank that a change of the layer may have. */
static int64_t most_rank(const layer_info *l)
{
    return l->out < columns_of(l) ? l->out : columns_of(l);
}

/* Everything but the token table can have a LoRA. */
static bool is_matrix(const layer_info *l)
{
    return l->class != LAYER_TOKENS;
}

/* ---- are they of one shape? ---- */

static leco_status check_layer(const extraction *x, const layer_info *a, const layer_info *b, leco_error *err)
{
    if (strcmp(a->path, b->path) != 0)
        return error_set(err, LECO_INVALID,
                         "%s and %s are models of different shapes: where one has the layer %s, the "
                         "other has %s",
                         x->base->folder, x->tuned->folder, a->path, b->path);
    if (a->in != b->in || a->out != b->out || a->kernel != b->kernel)
        return error_set(err, LECO_INVALID,
                         "%s and %s are models of different shapes: their layer %s takes %lld and "
                         "gives %lld channels in one, takes %lld and gives %lld in the other",
                         x->base->folder, x->tuned->folder, a->path, (long long)a->in, (long long)a->out,
                         (long long)b->in, (long long)b->out);
    return LECO_OK;
}

static leco_status check_lists(const extraction *x, const layer_list *a, const layer_list *b, leco_error *err)
{
    for (size_t i = 0; i < a->count && i < b->count; i++) LECO_TRY(check_layer(x, &a->layer[i], &b->layer[i], err));
    if (a->count == b->count) return LECO_OK;
    return error_set(err, LECO_INVALID, "%s and %s are models of different shapes: one has %zu layers, the other %zu",
                     x->base->folder, x->tuned->folder, a->count, b->count);
}

static leco_status check_models(const extraction *x, int parts, double *cost, int64_t *layers, leco_error *err)
{
    int64_t most = 0;
    *cost = 0;
    *layers = 0;
    for (int part = 0; part < PART_COUNT; part++) {
        const layer_list *a, *b;
        if (!(parts & 1 << part) || !model_has(x->base, (model_part)part)) continue;
        LECO_TRY(model_layers(x->base, (model_part)part, &a, err));
        LECO_TRY(model_layers(x->tuned, (model_part)part, &b, err));
        LECO_TRY(check_lists(x, a, b, err));
        for (size_t i = 0; i < a->count; i++) {
            if (!is_matrix(&a->layer[i])) continue;
            ++*layers;
            *cost += (double)a->layer[i].out * (double)columns_of(&a->layer[i]);
            if (most_rank(&a->layer[i]) > most) most = most_rank(&a->layer[i]);
        }
    }
    if (x->rank <= most) return LECO_OK;
    return error_set(err, LECO_INVALID, "a rank of %lld is above what there is: %lld at most, in any layer of %s",
                     (long long)x->rank, (long long)most, x->base->folder);
}

/* ---- layers ---- */

/* The layer's weight as doubles, in the arena. */
static leco_status read_weight(const model *m, const layer_info *l, arena *memory, double **out, leco_error *err)
{
    weight *w;
    const char *name = arena_printf(memory, "%s.weight", l->path);
    *out = arena_alloc(memory, (size_t)l->out, (size_t)columns_of(l) * sizeof **out);
    if (!name || !*out) return error_memory(err, (size_t)l->out * (size_t)columns_of(l) * sizeof **out, l->path);
    const shape s = l->kernel == 1 ? SHAPE(l->out, l->in) : SHAPE(l->out, l->in, l->kernel, l->kernel);
    LECO_TRY(weights_get(m->weights[l->part], name, s, &w, err));
    dtype_convert(*out, DTYPE_F64, w->data, w->type, (size_t)shape_count(&s));
    return LECO_OK;
}

static leco_status take_difference(extraction *x, const layer_info *l, arena *memory, leco_error *err)
{
    double *before, *after;
    LECO_TRY(read_weight(x->base, l, memory, &before, err));
    LECO_TRY(read_weight(x->tuned, l, memory, &after, err));
    const size_t count = (size_t)(l->out * columns_of(l));
    bool same = true;
    for (size_t i = 0; i < count; i++) {
        after[i] -= before[i];
        same = same && after[i] == 0; /* false for NaN, too, which is refused below */
    }
    if (same) return LECO_OK;
    low_rank r = {0};
    const int64_t rank = x->rank < most_rank(l) ? x->rank : most_rank(l);
    leco_status status = low_rank_of_matrix(after, l->out, columns_of(l), rank, &r, err);
    if (status != LECO_OK) return error_prefix(err, status, "layer %s", l->path);
    thin_note(x->report, l, rank, r.norm, r.lost);
    status = thin_add(&x->list, l, rank, r.up, r.down, 1, err);
    low_rank_free(&r);
    return status;
}

static leco_status take_layer(extraction *x, const layer_info *l, leco_error *err)
{
    arena *memory = arena_create();
    if (!memory) return error_memory(err, 0, l->path);
    leco_status status = take_difference(x, l, memory, err);
    arena_destroy(memory);
    return status == LECO_OK ? work_step(x->work, (double)l->out * (double)columns_of(l), err) : status;
}

/* ---- what else differs ---- */

static bool is_layers_weight(const layer_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++) {
        const char *path = list->layer[i].path;
        const size_t length = strlen(path);
        if (is_matrix(&list->layer[i]) && strncmp(name, path, length) == 0 && strcmp(name + length, ".weight") == 0)
            return true;
    }
    return false;
}

/* Norms, biases, the token table: whatever of a part isn't the matrix of a layer. */
static leco_status count_others(extraction *x, model_part part, leco_error *err)
{
    const weights *a = x->base->weights[part], *b = x->tuned->weights[part];
    const layer_list *list;
    LECO_TRY(model_layers(x->base, part, &list, err));
    for (size_t i = 0; i < weights_count(a); i++)
        if (!is_layers_weight(list, weights_name(a, i)) && !weights_same(a, i, b)) x->report->others++;
    return LECO_OK;
}

static leco_status extract(extraction *x, int parts, leco_error *err)
{
    for (int part = 0; part < PART_COUNT; part++) {
        const layer_list *list;
        if (!(parts & 1 << part) || !model_has(x->base, (model_part)part)) continue;
        LECO_TRY(model_layers(x->base, (model_part)part, &list, err));
        for (size_t i = 0; i < list->count; i++)
            if (is_matrix(&list->layer[i])) LECO_TRY(take_layer(x, &list->layer[i], err));
        LECO_TRY(count_others(x, (model_part)part, err));
    }
    if (x->list.count > 0) return LECO_OK;
    return error_set(err, LECO_INVALID,
                     "%s and %s don't differ in what a LoRA can hold (%zu other tensors do): there "
                     "is nothing to extract",
                     x->base->folder, x->tuned->folder, x->report->others);
}

leco_status extract_lora(model *base, model *tuned, int parts, int64_t rank, work *w, trainable **out,
                         thin_report *report, leco_error *err)
{
    extraction x = {.base = base, .tuned = tuned, .rank = rank, .work = w, .report = report};
    double cost;
    int64_t layers;
    *report = (thin_report){0};
    LECO_TRY(check_models(&x, parts, &cost, &layers, err));
    work_begin(w, layers, cost);
    leco_status status = extract(&x, parts, err);
    if (status == LECO_OK) status = thin_assemble(&x.list, out, err);
    thin_free(&x.list);
    return status;
}
