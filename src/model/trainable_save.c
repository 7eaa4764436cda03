#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/number.h"
#include "model/adapter_keys.h"
#include "model/adapter_metadata.h"
#include "model/family.h"
#include "model/trainable_internal.h"

/* A file in the making; everything lies in the arena. */
typedef struct saver {
    const trainable *t;
    const char *path;
    dtype type;
    bool original_keys; /* of the family */
    arena *memory;
    safetensors_entry *entries;
    size_t count;
} saver;

static leco_status no_memory(const saver *s, leco_error *err)
{
    return error_memory(err, 0, s->path);
}

/* The tensor's name in the file, the arena's; `name` is freed. */
static leco_status settle_name(const saver *s, char *name, const char **out, leco_error *err)
{
    char *original = NULL;
    if (!name) return no_memory(s, err);
    leco_status status = s->original_keys ? adapter_original_name(name, &original, err) : LECO_OK;
    *out = status == LECO_OK ? arena_strdup(s->memory, original ? original : name) : NULL;
    if (status == LECO_OK && !*out) status = no_memory(s, err);
    mem_free(original);
    mem_free(name);
    return status;
}

/* `name` is freed. */
static leco_status add_tensor(saver *s, char *name, const shape *dims, const void *values, dtype from, leco_error *err)
{
    safetensors_entry *e = &s->entries[s->count++];
    LECO_TRY(settle_name(s, name, &e->name, err));
    e->type = s->type;
    e->rank = dims->rank;
    memcpy(e->shape, dims->dim, sizeof dims->dim);
    e->count = (size_t)shape_count(dims);
    void *data = arena_alloc(s->memory, e->count, dtype_size(s->type));
    float *check = arena_alloc(s->memory, e->count, sizeof *check);
    if (!data || !check) return no_memory(s, err);
    dtype_convert(data, s->type, values, from, e->count);
    dtype_convert(check, DTYPE_F32, data, s->type, e->count);
    if (number_first_bad(check, e->count) < e->count)
        return error_set(err, LECO_INVALID, "%s: not written: tensor \"%s\" has a value that is not a finite %s",
                         s->path, e->name, dtype_name(s->type));
    e->data = data;
    return LECO_OK;
}

/* The params from number `first` on. */
static leco_status add_params(saver *s, const trainable_module *m, size_t first, leco_error *err)
{
    kind_shape shapes[KIND_MAX_PARAMS];
    m->kind->shapes(m, shapes);
    for (size_t i = 0; i < kind_file_params(m->kind); i++) {
        const void *original = s->t->original[first + i];
        LECO_TRY(add_tensor(s, adapter_tensor_name(m, i), &shapes[i].in_file, original ? original : m->param[i].value,
                            s->t->exact, err));
    }
    if (!kind_has_alpha(m->kind)) return LECO_OK;
    return add_tensor(s, adapter_alpha_name(m), &(shape){0}, &m->alpha, DTYPE_F32, err);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const safetensors_entry *)a)->name, ((const safetensors_entry *)b)->name);
}

static leco_status add_tensors(saver *s, leco_error *err)
{
    const trainable *t = s->t;
    s->entries = arena_alloc(s->memory, t->param_count + t->module_count, sizeof *s->entries);
    if (!s->entries) return no_memory(s, err);
    for (size_t i = 0, first = 0; i < t->module_count; first += t->modules[i++].params)
        LECO_TRY(add_params(s, &t->modules[i], first, err));
    /* By name, as the safetensors library orders them: sd-scripts' hashes are over that order. */
    qsort(s->entries, s->count, sizeof *s->entries, by_name);
    return LECO_OK;
}

static leco_status save(saver *s, const trainable_metadata *m, leco_error *err)
{
    LECO_TRY(add_tensors(s, err));
    adapter_file file = {.path = s->path, .entries = s->entries, .count = s->count, .memory = s->memory};
    LECO_TRY(adapter_metadata_add(&file, s->t, m, err));
    return safetensors_write(s->path, s->entries, s->count, (const char *const(*)[2])file.pairs, file.pair_count, err);
}

/* Where no model was at hand, what is said of it for the file's metadata. */
static const family *family_told(const trainable_metadata *m)
{
    for (size_t i = 0; i < m->extra_count; i++)
        if (strcmp(m->extra[i][0], "ss_base_model_version") == 0) return family_saved_as(m->extra[i][1]);
    return NULL;
}

leco_status trainable_save(const trainable *t, const char *path, dtype type, const trainable_metadata *metadata,
                           leco_error *err)
{
    static const trainable_metadata none;
    if (type != DTYPE_F32 && type != DTYPE_F16 && type != DTYPE_BF16)
        return error_set(err, LECO_INVALID, "%s: a LoRA is saved as float32, float16 or bfloat16, not %s", path,
                         dtype_name(type));
    if (!metadata) metadata = &none;
    const family *f = metadata->family ? metadata->family : family_told(metadata);
    saver s = {.t = t, .path = path, .type = type, .original_keys = f && f->original_keys, .memory = arena_create()};
    if (!s.memory) return no_memory(&s, err);
    leco_status status = save(&s, metadata, err);
    arena_destroy(s.memory);
    return status;
}
