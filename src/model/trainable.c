#include "model/trainable.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/trainable_internal.h"

/* ---- making ---- */

leco_status trainable_begin(size_t modules, dtype exact, trainable **out, leco_error *err)
{
    trainable *t = mem_calloc(1, sizeof *t);
    if (t) {
        t->modules = mem_calloc(modules, sizeof *t->modules);
        t->by_path = mem_calloc(modules, sizeof *t->by_path);
    }
    if (!t || !t->modules || !t->by_path) {
        trainable_destroy(t);
        return error_memory(err, modules * sizeof *t->modules, "an adapter");
    }
    t->module_count = modules;
    t->exact = exact;
    *out = t;
    return LECO_OK;
}

leco_status trainable_put(trainable *t, size_t index, const trainable_kind *kind, const layer_info *layer, int64_t rank,
                          float alpha, leco_error *err)
{
    char *path = mem_strdup(layer->path);
    if (!path) return error_memory(err, strlen(layer->path), "an adapter");
    t->modules[index] = (trainable_module){.kind = kind, .layer = *layer, .rank = rank, .alpha = alpha};
    t->modules[index].layer.path = path;
    t->modules[index].token = t->modules[index].start = NULL;
    while (kind->param[t->modules[index].params].suffix) t->modules[index].params++;
    t->param_count += t->modules[index].params;
    return LECO_OK;
}

/* Names and shapes of all params; the buffers' sizes. */
static leco_status describe(trainable *t, leco_error *err)
{
    const size_t step = MEM_ALIGNMENT / dtype_size(t->exact);
    param *p = t->params;
    for (size_t i = 0; i < t->module_count; i++) {
        trainable_module *m = &t->modules[i];
        kind_shape shapes[KIND_MAX_PARAMS];
        m->kind->shapes(&m->layer, m->rank, shapes);
        m->param = p;
        for (size_t k = 0; k < m->params; k++, p++) {
            size_t count = (size_t)shape_count(&shapes[k].of_param);
            p->name = mem_printf("%s%s", m->layer.path, m->kind->param[k].suffix);
            if (!p->name) return error_memory(err, strlen(m->layer.path), "an adapter");
            p->type = t->exact;
            p->shape = shapes[k].of_param;
            p->trained = t->trained;
            t->count += (count + step - 1) / step * step;
            if (!t->trained && m->kind->param[k].multiplied) t->original_count += count;
        }
    }
    return LECO_OK;
}

/* *out stays NULL where count is 0. */
static leco_status make_buffer(const trainable *t, size_t count, void **out, leco_error *err)
{
    size_t bytes;
    if (count == 0) return LECO_OK;
    if (!mem_mul(count, dtype_size(t->exact), &bytes)) bytes = SIZE_MAX;
    *out = bytes < SIZE_MAX ? mem_aligned(bytes) : NULL;
    if (!*out) return error_memory(err, bytes, "an adapter");
    memset(*out, 0, bytes);
    return LECO_OK;
}

/* Points all params into the buffers. */
static void place(trainable *t)
{
    const size_t size = dtype_size(t->exact), step = MEM_ALIGNMENT / size;
    size_t at = 0, original_at = 0, index = 0;
    for (size_t i = 0; i < t->module_count; i++) {
        const trainable_module *m = &t->modules[i];
        for (size_t k = 0; k < m->params; k++, index++) {
            param *p = &t->params[index];
            size_t count = (size_t)shape_count(&p->shape);
            p->value = (char *)t->values + at * size;
            if (t->grads) p->grad = (char *)t->grads + at * size;
            at += (count + step - 1) / step * step;
            if (!t->originals || !m->kind->param[k].multiplied) continue;
            t->original[index] = (char *)t->originals + original_at * size;
            original_at += count;
        }
    }
}

static int compare(model_part part, const char *path, const trainable_module *m)
{
    return part != m->layer.part ? (part < m->layer.part ? -1 : 1) : strcmp(path, m->layer.path);
}

/* Sorts by_path. */
static void index_modules(trainable *t)
{
    /* Insertion sort by binary search: modules come almost in order, and there are hundreds of them. */
    for (size_t i = 0; i < t->module_count; i++) {
        const layer_info *layer = &t->modules[i].layer;
        size_t low = 0, high = i;
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            if (compare(layer->part, layer->path, &t->modules[t->by_path[middle]]) < 0)
                high = middle;
            else
                low = middle + 1;
        }
        memmove(t->by_path + low + 1, t->by_path + low, (i - low) * sizeof *t->by_path);
        t->by_path[low] = i;
    }
}

leco_status trainable_finish(trainable *t, bool trained, leco_error *err)
{
    t->trained = trained;
    t->params = mem_calloc(t->param_count, sizeof *t->params);
    t->original = mem_calloc(t->param_count, sizeof *t->original);
    if (!t->params || !t->original) return error_memory(err, t->param_count * sizeof *t->params, "an adapter");
    LECO_TRY(describe(t, err));
    index_modules(t);
    return LECO_OK;
}

leco_status trainable_take(trainable *t, leco_error *err)
{
    LECO_TRY(make_buffer(t, t->count, &t->values, err));
    if (t->trained) LECO_TRY(make_buffer(t, t->count, &t->grads, err));
    LECO_TRY(make_buffer(t, t->original_count, &t->originals, err));
    place(t);
    return LECO_OK;
}

void trainable_destroy(trainable *t)
{
    if (!t) return;
    for (size_t i = 0; t->modules && i < t->module_count; i++) {
        mem_free((char *)(uintptr_t)t->modules[i].layer.path);
        mem_free((char *)(uintptr_t)t->modules[i].token);
        mem_free((char *)(uintptr_t)t->modules[i].start);
    }
    for (size_t i = 0; t->params && i < t->param_count; i++) mem_free((char *)(uintptr_t)t->params[i].name);
    mem_free_aligned(t->values);
    mem_free_aligned(t->grads);
    mem_free_aligned(t->originals);
    mem_free(t->params);
    mem_free(t->original);
    mem_free(t->modules);
    mem_free(t->by_path);
    mem_free(t);
}

/* ---- reading ---- */

void *trainable_values(trainable *t)
{
    return t->values;
}

void *trainable_grads(trainable *t)
{
    return t->grads;
}

size_t trainable_count(const trainable *t)
{
    return t->count;
}

size_t trainable_bytes(const trainable *t)
{
    return ((t->trained ? 2 : 1) * t->count + t->original_count) * dtype_size(t->exact);
}

param *trainable_params(trainable *t, size_t *count)
{
    *count = t->param_count;
    return t->params;
}

int64_t trainable_parameters(const trainable *t)
{
    int64_t count = 0;
    for (size_t i = 0; i < t->param_count; i++) count += shape_count(&t->params[i].shape);
    return count;
}

bool trainable_reaches(const trainable *t, model_part part)
{
    for (size_t i = 0; i < t->module_count; i++)
        if (t->modules[i].layer.part == part) return true;
    return false;
}

size_t trainable_module_count(const trainable *t)
{
    return t->module_count;
}

trainable_module *trainable_module_at(trainable *t, size_t index)
{
    return &t->modules[index];
}

/* ---- applying ---- */

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
        int order = compare(part, path, m);
        if (order == 0) return m;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

tensor *adapters_apply(const struct adapter_set *set, model_part part, const char *path, const layer_site *at)
{
    layer_site site = *at;
    for (size_t i = 0; set && i < set->count; i++) {
        const adapter_use *use = &set->use[i];
        const trainable_module *m = use->multiplier != 0 ? find(use->trainable, part, path) : NULL;
        if (m) site.y = m->kind->apply(m, &site, use->multiplier);
    }
    return site.y;
}
