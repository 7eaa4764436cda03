#include "solve/thin.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/kinds.h"

enum { DOWN, UP }; /* the params of a LoRA */

void thin_free(thin_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        mem_free(list->at[i].up);
        mem_free(list->at[i].down);
    }
    mem_free(list->at);
    *list = (thin_list){0};
}

static leco_status grow(thin_list *list, leco_error *err)
{
    if (list->count < list->capacity) return LECO_OK;
    const size_t capacity = list->capacity ? 2 * list->capacity : 256;
    thin_layer *grown = mem_realloc(list->at, capacity, sizeof *grown);
    if (!grown) return error_memory(err, capacity * sizeof *grown, "a LoRA");
    list->at = grown;
    list->capacity = capacity;
    return LECO_OK;
}

static size_t up_count(const layer_info *layer, int64_t rank)
{
    return (size_t)layer->out * (size_t)rank;
}

static size_t down_count(const layer_info *layer, int64_t rank)
{
    return (size_t)rank * (size_t)layer->in * (size_t)layer->kernel * (size_t)layer->kernel;
}

/* The power of two nearest to a positive number, in ratio. */
static double power_near(double value)
{
    return exp2(round(log2(value)));
}

leco_status thin_add(thin_list *list, const layer_info *layer, int64_t rank, const double *up, const double *down,
                     double scale, leco_error *err)
{
    const size_t ups = up_count(layer, rank), downs = down_count(layer, rank);
    LECO_TRY(grow(list, err));
    thin_layer *new = &list->at[list->count];
    *new = (thin_layer){.layer = layer, .rank = rank, .alpha = (float)power_near((double)rank * scale)};
    new->up = mem_calloc(ups, sizeof *new->up);
    new->down = mem_calloc(downs, sizeof *new->down);
    if (!new->up || !new->down) {
        mem_free(new->up);
        mem_free(new->down);
        return error_memory(err, (ups + downs) * sizeof *new->up, "a LoRA");
    }
    const double share = (double)rank / (double)new->alpha;
    for (size_t i = 0; i < ups; i++) new->up[i] = (float)(up[i] * share);
    for (size_t i = 0; i < downs; i++) new->down[i] = (float)down[i];
    list->count++;
    return LECO_OK;
}

leco_status thin_assemble(const thin_list *list, trainable **out, leco_error *err)
{
    trainable_spec *specs = mem_calloc(list->count, sizeof *specs);
    if (!specs) return error_memory(err, list->count * sizeof *specs, "a LoRA");
    for (size_t i = 0; i < list->count; i++)
        specs[i] = (trainable_spec){&kind_lora, list->at[i].layer, list->at[i].rank, list->at[i].alpha};
    leco_status status = trainable_assemble(specs, list->count, DTYPE_F32, out, err);
    mem_free(specs);
    if (status != LECO_OK) return status;
    for (size_t i = 0; i < list->count; i++) {
        const thin_layer *l = &list->at[i];
        memcpy(trainable_in_file(*out, i, UP), l->up, up_count(l->layer, l->rank) * sizeof *l->up);
        memcpy(trainable_in_file(*out, i, DOWN), l->down, down_count(l->layer, l->rank) * sizeof *l->down);
    }
    trainable_set_multiplier(*out, 1);
    return LECO_OK;
}

void thin_note(thin_report *r, const layer_info *layer, int64_t rank, double norm, double lost)
{
    r->layers[layer->part]++;
    r->square[layer->part] += norm * norm;
    r->lost[layer->part] += norm * norm * lost * lost;
    if (rank > r->rank) r->rank = rank;
    if (lost <= r->most_lost) return;
    r->most_lost = lost;
    r->most_lost_layer = layer;
}
