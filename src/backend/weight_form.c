#include "backend/weight_form.h"

#include <string.h>

#include "base/mem.h"

leco_status weight_want(weight *w, const device_memory *m, const void *key, size_t key_size, size_t bytes,
                        weight_form **out, leco_error *err)
{
    for (weight_form *f = w->forms; f != NULL; f = f->next) {
        if (f->memory != m || f->key_size != key_size || memcmp(f->key, key, key_size) != 0) continue;
        *out = f;
        return LECO_OK;
    }
    weight_form *f = mem_calloc(1, sizeof *f + key_size);
    if (f == NULL) return error_memory(err, sizeof *f + key_size, w->name);
    f->memory = m;
    f->bytes = bytes;
    f->key_size = key_size;
    memcpy(f->key, key, key_size);
    f->next = w->forms;
    w->forms = f;
    *out = f;
    return LECO_OK;
}

leco_status weight_want_plain(weight *w, const device_memory *m, dtype type, size_t alignment, weight_form **out,
                              leco_error *err)
{
    *out = NULL;
    if (memory_is_host(m) && w->type == type && !w->keep_out_of_place && (uintptr_t)w->data % alignment == 0)
        return LECO_OK;
    const struct {
        char kind[8];
        int32_t type;
    } key = {"plain", (int32_t)type};
    LECO_TRY(weight_want(w, m, &key, sizeof key, (size_t)shape_count(&w->shape) * dtype_size(type), out, err));
    (*out)->plain = true;
    (*out)->type = type;
    return LECO_OK;
}

leco_status weight_take(const weight *w, weight_form *f, leco_error *err)
{
    f->data = f->memory->alloc(f->bytes);
    return f->data != NULL ? LECO_OK : memory_error(f->memory, f->bytes, w->name, err);
}

void weight_give_back(weight_form *f)
{
    f->memory->free(f->data);
    f->data = NULL;
}

leco_status weight_fill(const weight *w, weight_form *f, leco_error *err)
{
    if (f->data != NULL && f->version == w->version) return LECO_OK;
    const bool taken = f->data == NULL;
    if (taken) LECO_TRY(weight_take(w, f, err));
    const size_t count = (size_t)shape_count(&w->shape);
    leco_status status = LECO_OK;
    if (memory_is_host(f->memory))
        dtype_convert(f->data, f->type, w->data, w->type, count);
    else
        status = f->memory->upload_as(f->data, f->type, w->data, w->type, count, err);
    if (status == LECO_OK)
        f->version = w->version;
    else if (taken) /* else kernels are bound to it */
        weight_give_back(f);
    return status;
}

void weight_release(weight *w)
{
    while (w->forms != NULL) {
        weight_form *next = w->forms->next;
        weight_give_back(w->forms);
        mem_free(w->forms);
        w->forms = next;
    }
}

size_t weight_wanted_bytes(const weight *w)
{
    size_t bytes = 0;
    for (const weight_form *f = w->forms; f != NULL; f = f->next) bytes += f->bytes;
    return bytes;
}

size_t weight_taken_bytes(const weight *w)
{
    size_t bytes = 0;
    for (const weight_form *f = w->forms; f != NULL; f = f->next) bytes += f->data != NULL ? f->bytes : 0;
    return bytes;
}
