#include "model/adapter.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/adapter_internal.h"
#include "op/op.h"

/* ---- memory ---- */

leco_status lora_allocate(size_t count, dtype exact, lora **out, leco_error *err)
{
    lora *l = mem_calloc(1, sizeof *l);
    if (l) {
        l->modules = mem_calloc(count, sizeof *l->modules);
        l->by_path = mem_calloc(count, sizeof *l->by_path);
    }
    if (!l || !l->modules || !l->by_path) {
        lora_destroy(l);
        return error_memory(err, count * sizeof *l->modules, "a LoRA");
    }
    l->count = count;
    l->exact = exact;
    *out = l;
    return LECO_OK;
}

/* Zeroed values (and gradient). */
static leco_status allocate_param(param *p, dtype type, shape s, bool trainable, leco_error *err)
{
    size_t bytes;
    if (!mem_mul((size_t)shape_count(&s), dtype_size(type), &bytes)) return error_memory(err, SIZE_MAX, p->name);
    p->type = type;
    p->shape = s;
    p->value = mem_aligned(bytes);
    if (trainable) p->grad = mem_aligned(bytes);
    if (!p->value || (trainable && !p->grad)) return error_memory(err, bytes, p->name);
    memset(p->value, 0, bytes);
    if (trainable) memset(p->grad, 0, bytes);
    return LECO_OK;
}

leco_status lora_module_allocate(lora *l, lora_module *m, const char *path, bool trainable, leco_error *err)
{
    m->path = mem_strdup(path);
    m->down.name = mem_printf("%s.lora_down", path);
    m->up.name = mem_printf("%s.lora_up", path);
    if (!m->path || !m->down.name || !m->up.name) return error_memory(err, strlen(path), "a LoRA");
    LECO_TRY(allocate_param(&m->up, l->exact, SHAPE(m->out, m->rank), trainable, err));
    if (!trainable) {
        size_t bytes = (size_t)(m->out * m->rank) * dtype_size(l->exact);
        m->up_loaded = mem_aligned(bytes);
        if (!m->up_loaded) return error_memory(err, bytes, m->up.name);
    }
    if (m->kernel == 1) return allocate_param(&m->down, l->exact, SHAPE(m->rank, m->in), trainable, err);
    m->down_kernel.name = m->down.name;
    m->down_kernel.type = l->exact;
    m->down_kernel.shape = SHAPE(m->rank, m->in, m->kernel, m->kernel);
    size_t bytes = (size_t)shape_count(&m->down_kernel.shape) * dtype_size(l->exact);
    m->down_kernel.data = mem_aligned(bytes);
    return m->down_kernel.data ? LECO_OK : error_memory(err, bytes, m->down.name);
}

void lora_destroy(lora *l)
{
    if (!l) return;
    for (size_t i = 0; l->modules && i < l->count; i++) {
        lora_module *m = &l->modules[i];
        param *params[] = {&m->down, &m->up};
        for (int k = 0; k < 2; k++) {
            mem_free((char *)(uintptr_t)params[k]->name);
            mem_free_aligned(params[k]->value);
            mem_free_aligned(params[k]->grad);
        }
        weight_release(&m->down_kernel);
        mem_free_aligned((void *)(uintptr_t)m->down_kernel.data);
        mem_free_aligned(m->up_loaded);
        mem_free((char *)(uintptr_t)m->path);
    }
    mem_free(l->modules);
    mem_free(l->by_path);
    mem_free(l);
}

/* ---- reading ---- */

size_t lora_module_count(const lora *l)
{
    return l->count;
}

lora_module *lora_module_at(lora *l, size_t index)
{
    return &l->modules[index];
}

size_t lora_param_count(const lora *l)
{
    return 2 * l->count;
}

param *lora_param_at(lora *l, size_t index)
{
    lora_module *m = &l->modules[index / 2];
    return index % 2 == 0 ? &m->down : &m->up;
}

int64_t lora_value_count(const lora *l)
{
    int64_t count = 0;
    for (size_t i = 0; i < l->count; i++) {
        const lora_module *m = &l->modules[i];
        count += m->rank * (m->in * m->kernel * m->kernel + m->out);
    }
    return count;
}

void lora_set_multiplier(lora *l, float multiplier)
{
    for (size_t i = 0; i < l->count; i++) {
        lora_module *m = &l->modules[i];
        size_t count = (size_t)(m->out * m->rank);
        if (!m->up_loaded) continue;
        if (l->exact == DTYPE_F64) {
            double *to = m->up.value, *from = m->up_loaded;
            for (size_t k = 0; k < count; k++) to[k] = (double)multiplier * from[k];
        } else {
            float *to = m->up.value, *from = m->up_loaded;
            for (size_t k = 0; k < count; k++) to[k] = multiplier * from[k];
        }
    }
}

/* ---- finding and applying ---- */

static int compare(model_part part, const char *path, const lora_module *m)
{
    return part != m->part ? (part < m->part ? -1 : 1) : strcmp(path, m->path);
}

void lora_index(lora *l)
{
    /* Insertion sort by binary search: modules come almost in order, and there are hundreds of them. */
    for (size_t i = 0; i < l->count; i++) {
        const lora_module *m = &l->modules[i];
        size_t low = 0, high = i;
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            if (compare(m->part, m->path, &l->modules[l->by_path[middle]]) < 0)
                high = middle;
            else
                low = middle + 1;
        }
        memmove(l->by_path + low + 1, l->by_path + low, (i - low) * sizeof *l->by_path);
        l->by_path[low] = i;
    }
}

static lora_module *find(const lora *l, model_part part, const char *path)
{
    size_t low = 0, high = l->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        lora_module *m = &l->modules[l->by_path[middle]];
        int order = compare(part, path, m);
        if (order == 0) return m;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

tensor *adapters_apply(const adapter_set *set, graph *g, model_part part, const char *path, tensor *x, tensor *y,
                       int stride, const int pad[4])
{
    for (size_t i = 0; set && i < set->count; i++) {
        const adapter_use *use = &set->use[i];
        lora_module *m = use->multiplier != 0 ? find(use->lora, part, path) : NULL;
        if (!m) continue;
        tensor *h = m->kernel == 1 ? op_linear(g, x, graph_param(g, &m->down), NULL, NULL, 1.0f)
                                   : op_conv2d(g, x, graph_weight(g, &m->down_kernel), NULL, NULL, stride, pad);
        float scale = use->multiplier * m->alpha / (float)m->rank;
        y = op_linear(g, h, graph_param(g, &m->up), NULL, y, scale);
    }
    return y;
}

char *lora_key(model_part part, const char *path)
{
    char *key = mem_printf("%s%s", part == PART_UNET ? "lora_unet_" : "lora_te_", path);
    for (char *p = key; p && *p; p++)
        if (*p == '.') *p = '_';
    return key;
}
