/* Trainables in graphs: their multiplier, what they add to a layer, what is dropped of it while they learn. */
#include <stdio.h>

#include "base/mem.h"
#include "model/trainable_internal.h"
#include "op/op.h"

void trainable_set_multiplier(trainable *t, float multiplier)
{
    for (size_t i = 0; i < t->param_count; i++) {
        size_t count = (size_t)shape_count(&t->params[i].shape);
        if (!t->original[i]) continue;
        if (t->exact == DTYPE_F64) {
            double *to = t->params[i].value, *from = t->original[i];
            for (size_t k = 0; k < count; k++) to[k] = (double)multiplier * from[k];
        } else {
            float *to = t->params[i].value, *from = t->original[i];
            for (size_t k = 0; k < count; k++) to[k] = multiplier * from[k];
        }
    }
}

static const trainable_module *find(const trainable *t, model_part part, const char *path)
{
    size_t low = 0, high = t->module_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const trainable_module *m = &t->modules[t->by_path[middle]];
        int order = trainable_compare(part, path, m);
        if (order == 0) return m;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

bool adapters_want_base(const struct adapter_set *set, model_part part, const char *path)
{
    for (size_t i = 0; set && i < set->count; i++) {
        const trainable_module *m = set->use[i].multiplier != 0 ? find(set->use[i].trainable, part, path) : NULL;
        if (m && m->kind->wants_base) return true;
    }
    return false;
}

tensor *adapters_apply(const struct adapter_set *set, model_part part, const char *path, const layer_site *at)
{
    layer_site site = *at;
    site.masks = set ? set->masks : NULL;
    for (size_t i = 0; set && i < set->count; i++) {
        const adapter_use *use = &set->use[i];
        const trainable_module *m = use->multiplier != 0 ? find(use->trainable, part, path) : NULL;
        site.rates = use->trainable->dropout;
        if (m) site.y = m->kind->apply(m, &site, use->multiplier);
    }
    return site.y;
}

/* ---- dropout ---- */

static bool note_mask(dropout_masks *list, tensor *mask, const dropout_rates *rates)
{
    if (list->count == list->capacity) {
        const size_t capacity = list->capacity ? 2 * list->capacity : 256;
        dropout_mask *grown = mem_realloc(list->at, capacity, sizeof *grown);
        if (!grown) return false;
        list->at = grown;
        list->capacity = capacity;
    }
    list->at[list->count++] = (dropout_mask){mask, *rates};
    return true;
}

tensor *adapter_dropped(const trainable_module *m, const layer_site *at, tensor *h)
{
    const dropout_rates *r = &at->rates;
    if (!at->masks || !h || (r->element == 0 && r->rank == 0 && r->module == 0)) return h;
    char name[512];
    snprintf(name, sizeof name, "%s.dropout", m->layer.path);
    tensor *mask = graph_input(at->g, name, graph_dtype(at->g), h->shape);
    if (mask && !note_mask(at->masks, mask, r)) return graph_fail(at->g, LECO_MEMORY, "out of memory: %s", name);
    return op_multiply(at->g, h, mask);
}

static float drawn(rng *r)
{
    float value;
    rng_uniform(r, &value, 1, 0, 1);
    return value;
}

void dropout_draw(const dropout_mask *m, rng *r, float *values)
{
    const shape *s = &m->mask->shape;
    const int64_t count = shape_count(s), rank = shape_last(s), samples = s->dim[0], each = count / samples;
    if (m->rates.module > 0 && drawn(r) < m->rates.module) {
        for (int64_t i = 0; i < count; i++) values[i] = 0;
        return;
    }
    const float kept = 1 / (1 - m->rates.element), rank_kept = 1 / (1 - m->rates.rank);
    for (int64_t i = 0; i < count; i++) values[i] = m->rates.element == 0 ? 1 : drawn(r) < m->rates.element ? 0 : kept;
    for (int64_t n = 0; n < samples && m->rates.rank > 0; n++)
        for (int64_t k = 0; k < rank; k++) {
            const float factor = drawn(r) < m->rates.rank ? 0 : rank_kept;
            for (int64_t i = k; i < each; i += rank) values[n * each + i] *= factor;
        }
}
