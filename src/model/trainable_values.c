/* The values of a file's tensors; and those of a whole file, into a trainable that is there. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/number.h"
#include "format/tensors.h"
#include "model/adapter_keys.h"
#include "model/trainable_internal.h"

leco_status trainable_read_values(const char *path, const safetensors_entry *e, void *out, dtype type, leco_error *err)
{
    if (e->type == DTYPE_I32 || e->type == DTYPE_I64)
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\": expected floating-point values, found %s", path, e->name,
                         dtype_name(e->type));
    dtype_convert(out, type, e->data, e->type, e->count);
    for (size_t i = 0; i < e->count; i++) {
        double value = type == DTYPE_F64 ? ((double *)out)[i] : (double)((float *)out)[i];
        if (!isfinite(value))
            return error_set(err, LECO_FORMAT, "%s: tensor \"%s\": element %zu is not a finite number", path, e->name,
                             i);
    }
    return LECO_OK;
}

/* The tensor of that name, which is freed. */
static leco_status load_tensor(const safetensors *file, char *name, const shape *s, void *out, dtype type,
                               leco_error *err)
{
    if (!name) return error_memory(err, 0, "the keys of a LoRA");
    const safetensors_entry *e;
    leco_status status = safetensors_require(file, name, s->rank, s->dim, &e, err);
    if (status == LECO_OK) status = trainable_read_values(safetensors_path(file), e, out, type, err);
    mem_free(name);
    return status;
}

static leco_status check_alpha(const safetensors *file, const trainable_module *m, leco_error *err)
{
    float alpha = 0;
    LECO_TRY(load_tensor(file, adapter_alpha_name(m), &(shape){.rank = 0}, &alpha, DTYPE_F32, err));
    if (alpha == m->alpha) return LECO_OK;
    char *name = adapter_alpha_name(m);
    leco_status status = name ? error_set(err, LECO_INVALID, "%s: tensor \"%s\": expected %g, found %g",
                                          safetensors_path(file), name, number_shown(m->alpha), number_shown(alpha))
                              : error_memory(err, 0, "the keys of a LoRA");
    mem_free(name);
    return status;
}

static leco_status load_into(const safetensors *file, const trainable_module *m, leco_error *err)
{
    kind_shape shapes[KIND_MAX_PARAMS];
    if (kind_has_alpha(m->kind)) LECO_TRY(check_alpha(file, m, err));
    m->kind->shapes(m, shapes);
    for (size_t i = 0; i < m->params; i++)
        LECO_TRY(
            load_tensor(file, adapter_tensor_name(m, i), &shapes[i].in_file, m->param[i].value, m->param[i].type, err));
    return LECO_OK;
}

leco_status trainable_load_values(trainable *t, const char *path, leco_error *err)
{
    safetensors *file;
    LECO_TRY(tensors_open(path, &file, err));
    leco_status status = LECO_OK;
    const size_t found = safetensors_count(file) + safetensors_skipped_count(file);
    size_t expected = t->param_count;
    for (size_t i = 0; i < t->module_count; i++) expected += kind_has_alpha(t->modules[i].kind);
    if (found != expected)
        status = error_set(err, LECO_INVALID, "%s: expected the %zu tensors of this %s, found %zu", path, expected,
                           t->modules[0].kind->alone ? t->modules[0].kind->name : "LoRA", found);
    for (size_t i = 0; i < t->module_count && status == LECO_OK; i++) status = load_into(file, &t->modules[i], err);
    trainable_changed(t);
    safetensors_close(file);
    return status;
}

/* What a module of a file has, as it is in the file. */
static void copy_module(trainable_module *to, const trainable *from, size_t index)
{
    for (size_t k = 0; k < to->params; k++) {
        const size_t count = (size_t)shape_count(&to->param[k].shape);
        dtype_convert(to->param[k].value, to->param[k].type, trainable_in_file(from, index, k), from->exact, count);
    }
}

leco_status trainable_copy_values(trainable *to, const trainable *loaded, leco_error *err)
{
    size_t copied = 0;
    for (size_t i = 0; i < to->module_count; i++) {
        trainable_module *m = &to->modules[i];
        for (size_t k = 0; k < loaded->module_count; k++) {
            const trainable_module *of = &loaded->modules[k];
            if (trainable_compare(m->layer.part, m->layer.path, of) != 0) continue;
            if (of->kind != m->kind || of->rank != m->rank || of->rows != m->rows || of->columns != m->columns) break;
            copy_module(m, loaded, k);
            copied++;
        }
    }
    trainable_changed(to);
    if (copied == loaded->module_count) return LECO_OK;
    return error_set(err, LECO_INVALID, "the file has changed since the training was planned");
}
