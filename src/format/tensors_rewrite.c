#include "base/mem.h"
#include "format/tensors.h"

typedef struct rewriting {
    const safetensors *file;
    safetensors_replace replace;
    void *user;
} rewriting;

static leco_status make(void *user, size_t index, const void **data, leco_error *err)
{
    const rewriting *r = user;
    const safetensors_entry *e = safetensors_at(r->file, index);
    *data = NULL;
    LECO_TRY(r->replace(r->user, e, data, err));
    if (!*data) *data = e->data;
    return LECO_OK;
}

leco_status tensors_rewrite(const safetensors *file, const char *path, safetensors_replace replace, void *user,
                            size_t *left_out, leco_error *err)
{
    static const char *const format[][2] = {{"format", "pt"}}; /* transformers asks for it */
    const size_t count = safetensors_count(file);
    const rewriting r = {file, replace, user};
    const safetensors_maker by = {.make = make, .user = (void *)(uintptr_t)&r};
    safetensors_entry *entries = mem_calloc(count + 1, sizeof *entries);
    if (!entries) return error_memory(err, count * sizeof *entries, "the names of tensors");
    for (size_t i = 0; i < count; i++) entries[i] = *safetensors_at(file, i);
    *left_out = safetensors_skipped_count(file);
    leco_status status = safetensors_write_made(path, entries, count, format, 1, &by, err);
    mem_free(entries);
    return status;
}
