#include "graph/weight.h"

#include <string.h>

#include "base/mem.h"

weight_variant *weight_find(const weight *w, const void *key, size_t key_size)
{
    for (weight_variant *v = w->variants; v != NULL; v = v->next) {
        if (v->key_size == key_size && memcmp(v->key, key, key_size) == 0) return v;
    }
    return NULL;
}

leco_status weight_add(weight *w, const void *key, size_t key_size, size_t bytes, weight_variant **out, leco_error *err)
{
    weight_variant *v = mem_calloc(1, sizeof *v + key_size);
    if (v == NULL) return error_memory(err, sizeof *v + key_size, w->name);
    v->data = mem_aligned(bytes);
    if (v->data == NULL) {
        mem_free(v);
        return error_memory(err, bytes, w->name);
    }
    v->bytes = bytes;
    v->key_size = key_size;
    memcpy(v->key, key, key_size);
    v->next = w->variants;
    w->variants = v;
    *out = v;
    return LECO_OK;
}

static leco_status plain(weight *w, dtype type, size_t alignment, const void **data, leco_error *err)
{
    if (w->type == type && !w->keep_out_of_place && (uintptr_t)w->data % alignment == 0) {
        *data = w->data;
        return LECO_OK;
    }
    const struct {
        char kind[8];
        int32_t type;
    } key = {"plain", (int32_t)type};
    weight_variant *v = weight_find(w, &key, sizeof key);
    if (v == NULL) {
        size_t count = (size_t)shape_count(&w->shape);
        LECO_TRY(weight_add(w, &key, sizeof key, count * dtype_size(type), &v, err));
        dtype_convert(v->data, type, w->data, w->type, count);
    }
    *data = v->data;
    return LECO_OK;
}

leco_status weight_plain(weight *w, dtype type, const void **data, leco_error *err)
{
    return plain(w, type, dtype_size(type), data, err);
}

leco_status weight_aligned(weight *w, dtype type, const void **data, leco_error *err)
{
    return plain(w, type, MEM_ALIGNMENT, data, err);
}

void weight_release(weight *w)
{
    while (w->variants != NULL) {
        weight_variant *next = w->variants->next;
        mem_free_aligned(w->variants->data);
        mem_free(w->variants);
        w->variants = next;
    }
}

size_t weight_variant_bytes(const weight *w)
{
    size_t bytes = 0;
    for (const weight_variant *v = w->variants; v != NULL; v = v->next) bytes += v->bytes;
    return bytes;
}
