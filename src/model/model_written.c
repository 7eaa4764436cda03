/* Tensors on their way into files, and files that are read back. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "model/model_write.h"

/* ---- writing ---- */

/* out = values of w in the type; LECO_INVALID where one isn't finite there. */
static leco_status convert(const weight *w, void *out, dtype type, const char *path, leco_error *err)
{
    enum { CHUNK = 1024 };
    float check[CHUNK];
    const size_t count = (size_t)shape_count(&w->shape), size = dtype_size(type), from = dtype_size(w->type);
    for (size_t i = 0; i < count; i += CHUNK) {
        const size_t now = count - i < CHUNK ? count - i : CHUNK;
        char *to = (char *)out + i * size;
        dtype_convert(to, type, (const char *)w->data + i * from, w->type, now);
        dtype_convert(check, DTYPE_F32, to, type, now);
        for (size_t k = 0; k < now; k++)
            if (!isfinite(check[k]))
                return error_set(err, LECO_INVALID,
                                 "%s: tensor \"%s\" has a value that is not a finite %s; nothing is written", path,
                                 w->name, dtype_name(type));
    }
    return LECO_OK;
}

typedef struct making {
    tensor_writer *w;
    const char *path;
    const safetensors_entry *entries;
    const written_tensor *from;
} making;

static leco_status make_room(tensor_writer *w, size_t bytes, leco_error *err)
{
    if (bytes <= w->room) return LECO_OK;
    mem_free(w->buffer);
    w->buffer = mem_calloc(bytes, 1);
    w->room = w->buffer ? bytes : 0;
    return w->buffer ? LECO_OK : error_memory(err, bytes, "a tensor");
}

static leco_status fill(const making *m, const safetensors_entry *e, const written_tensor *t, const void **data,
                        leco_error *err)
{
    const size_t size = dtype_size(e->type), bytes = e->count * size;
    LECO_TRY(make_room(m->w, 2 * bytes + 1, err));
    unsigned char *to = m->w->buffer, *turned = to + bytes;
    for (int i = 0; i < t->count; i++)
        LECO_TRY(convert(t->from[i], to + bytes / (size_t)t->count * (size_t)i, e->type, m->path, err));
    if (t->transposed)
        dtype_transpose(turned, to, (size_t)t->from[0]->shape.dim[0], (size_t)t->from[0]->shape.dim[1], size);
    *data = t->transposed ? turned : to;
    return LECO_OK;
}

static leco_status make(void *user, size_t index, const void **data, leco_error *err)
{
    const making *m = user;
    const safetensors_entry *e = &m->entries[index];
    const written_tensor *t = &m->from[index];
    if (t->count == 1 && !t->transposed && t->from[0]->type == e->type)
        *data = t->from[0]->data;
    else if (t->count > 0)
        LECO_TRY(fill(m, e, t, data, err));
    m->w->done++;
    if (!m->w->how->report || m->w->how->report(m->w->how->user, m->w->done, m->w->total)) return LECO_OK;
    return error_set(err, LECO_INTERRUPTED, "stopped; nothing is written");
}

static leco_status check(void *user, const char *place, leco_error *err)
{
    const making *m = user;
    return m->w->check ? model_check_written(m->w->check, place, err) : LECO_OK;
}

leco_status tensors_write(tensor_writer *w, const char *path, const safetensors_entry *entries,
                          const written_tensor *from, size_t count, const char *const (*metadata)[2],
                          size_t metadata_count, leco_error *err)
{
    making m = {w, path, entries, from};
    const safetensors_maker by = {make, check, &m};
    return safetensors_write_made(path, entries, count, metadata, metadata_count, &by, err);
}

/* ---- reading back ---- */

static leco_status other(const char *what, leco_error *err)
{
    return error_set(err, LECO_INVALID, "the model can't be written so: read back, its %s would be another", what);
}

static bool same_values(const weight *w, const weight *again)
{
    enum { CHUNK = 1024 };
    unsigned char wanted[CHUNK * 8];
    const size_t count = (size_t)shape_count(&w->shape), size = dtype_size(again->type), from = dtype_size(w->type);
    for (size_t i = 0; i < count; i += CHUNK) {
        const size_t now = count - i < CHUNK ? count - i : CHUNK;
        dtype_convert(wanted, again->type, (const char *)w->data + i * from, w->type, now);
        if (memcmp(wanted, (const char *)again->data + i * size, now * size) != 0) return false;
    }
    return true;
}

static leco_status check_part(const model *m, const model *again, model_part part, leco_error *err)
{
    const weights *all = m->weights[part];
    for (size_t i = 0; i < weights_count(all); i++) {
        const weight *w = weights_used(all, i);
        weight *found;
        if (!w) continue;
        LECO_TRY(weights_get(again->weights[part], w->name, w->shape, &found, err));
        if (!same_values(w, found)) return other(w->name, err);
    }
    return LECO_OK;
}

/* What one layout says and the other doesn't need be the same: sizes are a default, tokens' numbers the tokenizer's. */
static bool same_config(const model *m, const model *again, model_part part)
{
    static const char *const free_to_differ[] = {"sample_size", "eos_token_id", "projection_dim"};
    json_t *one = model_config_json(m, part), *two = model_config_json(again, part);
    for (size_t i = 0; i < 2 + (part == PART_TEXT_ENCODER); i++) {
        json_object_del(one, free_to_differ[i]);
        json_object_del(two, free_to_differ[i]);
    }
    const bool same = one && two && json_equal(one, two);
    json_decref(one);
    json_decref(two);
    return same;
}

static leco_status check_configs(const model *m, const model *again, leco_error *err)
{
    static const char *const names[PART_COUNT] = {[PART_UNET] = "U-Net's config (heads, blocks, groups)",
                                                  [PART_TEXT_ENCODER] = "text encoder's config",
                                                  [PART_TEXT_ENCODER_2] = "second text encoder's config",
                                                  [PART_VAE] = "VAE's config (blocks, scaling_factor)"};
    const schedule_config *a = &m->schedule, *b = &again->schedule;
    if (m->family != again->family) return other("family", err);
    for (int part = 0; part < PART_COUNT; part++)
        if (model_has(m, (model_part)part) && !same_config(m, again, (model_part)part)) return other(names[part], err);
    if (a->prediction != b->prediction) return other("prediction type", err);
    if (a->train_timesteps != b->train_timesteps || a->beta_start != b->beta_start || a->beta_end != b->beta_end ||
        a->beta != b->beta || a->zero_terminal_snr != b->zero_terminal_snr)
        return other("noise schedule", err);
    return LECO_OK;
}

leco_status model_check_written(const model *m, const char *path, leco_error *err)
{
    model *again;
    LECO_TRY(model_open(path, &again, err));
    leco_status status = check_configs(m, again, err);
    if (status == LECO_OK) status = model_map(again, MODEL_ALL, err);
    for (int part = 0; part < PART_COUNT && status == LECO_OK; part++)
        if (model_has(m, (model_part)part)) status = check_part(m, again, (model_part)part, err);
    model_close(again);
    return status;
}
