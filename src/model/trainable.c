#include "model/trainable.h"

#include <stdlib.h>
#include <string.h>

#include "backend/weight_form.h"
#include "base/mem.h"
#include "model/trainable_internal.h"

/* ---- making ---- */

leco_status trainable_begin(size_t modules, bool trained, dtype exact, trainable **out, leco_error *err)
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
    t->trained = trained;
    t->exact = exact;
    *out = t;
    return LECO_OK;
}

leco_status trainable_put(trainable *t, size_t index, const trainable_module *m, leco_error *err)
{
    char *path = mem_strdup(m->layer.path);
    if (!path) return error_memory(err, strlen(m->layer.path), "an adapter");
    trainable_module *new = &t->modules[index];
    *new = (trainable_module){.kind = m->kind, .layer = m->layer, .rank = m->rank, .alpha = m->alpha};
    new->layer.path = path;
    new->rows = m->rows > 0 ? m->rows : 1;
    new->columns = m->columns > 0 ? m->columns : 1;
    new->params = kind_file_params(m->kind);
    if (!t->trained && m->kind->param[new->params].added) new->params++;
    t->param_count += new->params;
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
        m->kind->shapes(m, shapes);
        m->param = p;
        for (size_t k = 0; k < m->params; k++, p++) {
            size_t count = (size_t)shape_count(&shapes[k].of_param);
            p->name = mem_printf("%s%s", m->layer.path, m->kind->param[k].suffix);
            if (!p->name) return error_memory(err, strlen(m->layer.path), "an adapter");
            p->type = t->exact;
            p->shape = shapes[k].of_param;
            p->trained = t->trained;
            p->buffer = &t->buffer;
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

/* Ones, of which the multiplier makes itself. */
static void fill_added(trainable *t)
{
    const double one = 1;
    for (size_t i = 0, index = 0; i < t->module_count; i++)
        for (size_t k = 0; k < t->modules[i].params; k++, index++) {
            if (!t->modules[i].kind->param[k].added) continue;
            const size_t count = (size_t)shape_count(&t->params[index].shape), size = dtype_size(t->exact);
            for (size_t e = 0; e < count; e++)
                dtype_convert((char *)t->original[index] + e * size, t->exact, &one, DTYPE_F64, 1);
        }
}

int trainable_compare(model_part part, const char *path, const trainable_module *m)
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
            if (trainable_compare(layer->part, layer->path, &t->modules[t->by_path[middle]]) < 0)
                high = middle;
            else
                low = middle + 1;
        }
        memmove(t->by_path + low + 1, t->by_path + low, (i - low) * sizeof *t->by_path);
        t->by_path[low] = i;
    }
}

leco_status trainable_finish(trainable *t, leco_error *err)
{
    t->params = mem_calloc(t->param_count, sizeof *t->params);
    t->original = mem_calloc(t->param_count, sizeof *t->original);
    if (!t->params || !t->original) return error_memory(err, t->param_count * sizeof *t->params, "an adapter");
    LECO_TRY(describe(t, err));
    t->buffer = (weight){.name = "an adapter", .type = t->exact, .shape = SHAPE((int64_t)t->count), .version = 1};
    index_modules(t);
    return LECO_OK;
}

leco_status trainable_take(trainable *t, leco_error *err)
{
    LECO_TRY(make_buffer(t, t->count, &t->values, err));
    t->buffer.data = t->values;
    if (t->trained) LECO_TRY(make_buffer(t, t->count, &t->grads, err));
    LECO_TRY(make_buffer(t, t->original_count, &t->originals, err));
    place(t);
    fill_added(t);
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
    weight_release(&t->buffer);
    mem_free_aligned(t->values);
    mem_free_aligned(t->grads);
    mem_free_aligned(t->originals);
    mem_free(t->params);
    mem_free(t->original);
    mem_free(t->modules);
    mem_free(t->by_path);
    mem_free(t->start_from);
    mem_free(t);
}

/* ---- reading ---- */

void *trainable_values(trainable *t)
{
    return t->values;
}

void trainable_changed(trainable *t)
{
    t->buffer.version++;
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
    return ((t->trained ? 2 : 1) * t->count + t->original_count) * dtype_size(t->exact) +
           weight_wanted_bytes(&t->buffer);
}

param *trainable_params(trainable *t, size_t *count)
{
    *count = t->param_count;
    return t->params;
}

int64_t trainable_parameters(const trainable *t)
{
    int64_t count = 0;
    for (size_t i = 0; i < t->module_count; i++)
        for (size_t k = 0; k < kind_file_params(t->modules[i].kind); k++)
            count += shape_count(&t->modules[i].param[k].shape);
    return count;
}

bool trainable_reaches(const trainable *t, model_part part)
{
    for (size_t i = 0; i < t->module_count; i++)
        if (t->modules[i].layer.part == part) return true;
    return false;
}

bool trainable_reaches_texts(const trainable *t)
{
    return trainable_reaches(t, PART_TEXT_ENCODER) || trainable_reaches(t, PART_TEXT_ENCODER_2);
}

size_t trainable_module_count(const trainable *t)
{
    return t->module_count;
}

trainable_module *trainable_module_at(trainable *t, size_t index)
{
    return &t->modules[index];
}
