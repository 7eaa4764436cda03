/* Trainables in graphs: their multiplier, what they add to a layer, what is dropped of it while they learn. */
#include <stdio.h>

#include "base/mem.h"
#include "model/module.h"
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
    trainable_changed(t);
}

/* The place in by_path of the first module on the layer, or of what follows it: a layer may have several. */
static size_t find(const trainable *t, model_part part, const char *path)
{
    size_t low = 0, high = t->module_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (trainable_compare(part, path, &t->modules[t->by_path[middle]]) <= 0)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The module there, if it is on the layer. */
static const trainable_module *on_layer(const trainable *t, size_t place, model_part part, const char *path)
{
    const trainable_module *m = place < t->module_count ? &t->modules[t->by_path[place]] : NULL;
    return m && trainable_compare(part, path, m) == 0 ? m : NULL;
}

/* What to do for each module on a layer; false ends it. */
typedef bool visit_module(void *user, const adapter_use *use, const trainable_module *m);

static void each(const struct adapter_set *set, model_part part, const char *path, visit_module *visit, void *user)
{
    for (size_t i = 0; set && i < set->count; i++) {
        const adapter_use *use = &set->use[i];
        if (use->multiplier == 0) continue;
        size_t place = find(use->trainable, part, path);
        for (const trainable_module *m; (m = on_layer(use->trainable, place, part, path)); place++)
            if (!visit(user, use, m)) return;
    }
}

static bool wants_base(void *user, const adapter_use *use, const trainable_module *m)
{
    (void)use;
    return !(*(bool *)user = m->kind->wants_base);
}

bool adapters_want_base(const struct adapter_set *set, model_part part, const char *path)
{
    bool wanted = false;
    each(set, part, path, wants_base, &wanted);
    return wanted;
}

static bool is_there(void *user, const adapter_use *use, const trainable_module *m)
{
    (void)use;
    (void)m;
    *(bool *)user = true;
    return false;
}

bool adapters_are_on(const struct adapter_set *set, model_part part, const char *path)
{
    bool there = false;
    each(set, part, path, is_there, &there);
    return there;
}

static bool apply(void *user, const adapter_use *use, const trainable_module *m)
{
    layer_site *site = user;
    site->rates = use->trainable->dropout;
    site->y = m->kind->apply(m, site, use->multiplier);
    return true;
}

tensor *adapters_apply(const struct adapter_set *set, model_part part, const char *path, const layer_site *at)
{
    layer_site site = *at;
    site.masks = set ? set->masks : NULL;
    each(set, part, path, apply, &site);
    return site.y;
}

/* ---- for kinds ---- */

tensor *adapter_shifted(const layer_site *at, tensor *v, tensor *y, float multiplier)
{
    tensor *ones = nn_constant(at->g, at->weights, 1, shape_last(&y->shape));
    tensor *everywhere = op_affine(at->g, y, NULL, ones, NULL, 0, 0);
    return op_affine(at->g, everywhere, v, NULL, y, 0, multiplier);
}

tensor *adapter_through_weight(const trainable_module *m, const layer_site *at, tensor *x, tensor *y)
{
    return m->layer.kernel == 1 ? op_linear(at->g, x, at->w, NULL, y, 1.0f)
                                : op_conv2d(at->g, x, at->w, NULL, y, at->stride, at->pad);
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
