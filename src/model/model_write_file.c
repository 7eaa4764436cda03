#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/name_table.h"
#include "model/checkpoint.h"
#include "model/family.h"
#include "model/model_write.h"

typedef struct listing {
    const model *m;
    const model_writing *how;
    checkpoint_depths depths;
    arena *memory;
    safetensors_entry *entries; /* [room] */
    written_tensor *from;
    size_t count, room;
    name_table by_name; /* of those that are made of three */
    leco_error *err;
} listing;

static leco_status no_memory(const listing *l)
{
    return error_memory(l->err, 0, "the names of tensors");
}

/* Where it is no part of a product that is there already. */
static leco_status add(listing *l, const weight *w, const checkpoint_place *place)
{
    size_t *known = place->third >= 0 ? name_table_find(&l->by_name, place->name) : NULL;
    const size_t at = known ? *known : l->count;
    safetensors_entry *e = &l->entries[at];
    written_tensor *t = &l->from[at];
    if (!known) {
        e->name = arena_strdup(l->memory, place->name);
        if (!e->name) return no_memory(l);
        e->type = l->how->type == DTYPE_COUNT ? w->type : l->how->type;
        e->rank = w->shape.rank;
        for (int i = 0; i < e->rank; i++) e->shape[i] = w->shape.dim[i];
        if (place->pixel && e->rank == 2) e->rank = 4, e->shape[2] = e->shape[3] = 1;
        if (place->transposed) e->shape[0] = w->shape.dim[1], e->shape[1] = w->shape.dim[0];
        if (place->third >= 0) e->shape[0] *= 3;
        e->count = (size_t)shape_count(&w->shape) * (place->third >= 0 ? 3 : 1);
        *t = (written_tensor){.count = place->third >= 0 ? 3 : 1, .transposed = place->transposed};
        if (place->third >= 0 && !name_table_add(&l->by_name, e->name, at)) return no_memory(l);
        l->count++;
    }
    if (known && e->count != 3 * (size_t)shape_count(&w->shape))
        return error_set(l->err, LECO_FORMAT, "tensor \"%s\" hasn't the shape of its sisters", w->name);
    t->from[place->third < 0 ? 0 : place->third] = w;
    return LECO_OK;
}

static leco_status add_named(listing *l, model_part part, const char *name, const weight *w)
{
    checkpoint_place place;
    if (!checkpoint_place_of(&l->depths, part, name, &place))
        return error_set(l->err, LECO_UNSUPPORTED, "%s: tensor \"%s\" has no name among a checkpoint's", l->m->folder,
                         w->name);
    return add(l, w, &place);
}

/* Programs that read Stable Diffusion 2 leave its text encoder's last layer out, which folders don't have: what comes
 * before it stands in for it. */
static leco_status add_spare(listing *l, const weight *w)
{
    static const char layer[] = "text_model.encoder.layers.";
    char *rest;
    const size_t length = sizeof layer - 1;
    if (!l->depths.open_clip || strncmp(w->name, layer, length) != 0) return LECO_OK;
    const long long number = strtoll(w->name + length, &rest, 10);
    if (number != l->m->text.layers - 1) return LECO_OK;
    const char *name = arena_printf(l->memory, "%s%lld%s", layer, number + 1, rest);
    return name ? add_named(l, PART_TEXT_ENCODER, name, w) : no_memory(l);
}

static leco_status add_part(listing *l, model_part part)
{
    const weights *all = l->m->weights[part];
    for (size_t i = 0; i < weights_count(all); i++) {
        const weight *w = weights_used(all, i);
        if (!w) continue;
        LECO_TRY(add_named(l, part, w->name, w));
        if (part == PART_TEXT_ENCODER) LECO_TRY(add_spare(l, w));
    }
    return LECO_OK;
}

/* An empty tensor that tells something by its name. */
static leco_status add_marker(listing *l, const char *name)
{
    l->entries[l->count] = (safetensors_entry){.name = name, .type = DTYPE_F32, .rank = 1, .data = ""};
    l->from[l->count++] = (written_tensor){0};
    return LECO_OK;
}

static leco_status list(listing *l)
{
    l->room = 2; /* markers */
    for (int part = 0; part < PART_COUNT; part++)
        if (model_has(l->m, (model_part)part)) l->room += 2 * weights_count(l->m->weights[part]);
    l->entries = arena_alloc(l->memory, l->room, sizeof *l->entries);
    l->from = arena_alloc(l->memory, l->room, sizeof *l->from);
    if (!l->entries || !l->from) return no_memory(l);
    for (int part = 0; part < PART_COUNT; part++)
        if (model_has(l->m, (model_part)part)) LECO_TRY(add_part(l, (model_part)part));
    if (l->m->schedule.prediction == PREDICT_V) LECO_TRY(add_marker(l, "v_pred"));
    return l->m->schedule.zero_terminal_snr ? add_marker(l, "ztsnr") : LECO_OK;
}

/* A checkpoint carries none: whoever reads it takes CLIP's. */
static leco_status check_tokenizer(const model *m, leco_error *err)
{
    tokenizer *clip;
    LECO_TRY(tokenizer_open_clip(NULL, &clip, err));
    const bool same = tokenizer_same_words(m->tokenizer, clip);
    tokenizer_close(clip);
    if (same) return LECO_OK;
    return error_set(err, LECO_UNSUPPORTED,
                     "%s: its tokenizer isn't CLIP's, and a checkpoint in one file has no place for another",
                     m->folder);
}

/* Programs use as many layers of OpenCLIP's H as there are before its last; folders with fewer have others. */
static leco_status check_text(const listing *l)
{
    const text_config *t = &l->m->text;
    if (!l->depths.open_clip || t->hidden_size != OPEN_CLIP_H_WIDTH || t->layers == OPEN_CLIP_H_LAYERS - 1)
        return LECO_OK;
    return error_set(l->err, LECO_UNSUPPORTED,
                     "%s: its text encoder has %lld layers; of a checkpoint in one file programs use %d, and would "
                     "read another model",
                     l->m->folder, (long long)t->layers, OPEN_CLIP_H_LAYERS - 1);
}

static leco_status write_listed(listing *l, const char *path)
{
    const family *f = l->m->family;
    const bool v = l->m->schedule.prediction == PREDICT_V;
    const char *const metadata[][2] = {{"modelspec.sai_model_spec", "1.0.1"},
                                       {"modelspec.architecture", f->saved[v].architecture},
                                       {"modelspec.implementation", f->implementation},
                                       {"modelspec.prediction_type", v ? "v" : "epsilon"}};
    tensor_writer w = {.how = l->how, .check = l->m, .total = (int64_t)l->count};
    leco_status status = tensors_write(&w, path, l->entries, l->from, l->count, metadata, 4, l->err);
    mem_free(w.buffer);
    return status;
}

leco_status model_write_file(model *m, const char *path, const model_writing *how, leco_error *err)
{
    listing l = {.m = m, .how = how, .depths = checkpoint_depths_of(m), .memory = arena_create(), .err = err};
    if (!l.memory) return error_memory(err, 0, "the names of tensors");
    leco_status status = check_tokenizer(m, err);
    if (model_has(m, PART_TEXT_ENCODER_2) && !m->zeros_for_none)
        log_message(
            LOG_WARNING,
            "%s: key \"force_zeros_for_empty_prompt\": false is lost: a checkpoint in one file has no place for "
            "it, and is drawn as if it were true",
            m->folder);
    if (status == LECO_OK) status = check_text(&l);
    if (status == LECO_OK) status = list(&l);
    if (status == LECO_OK) status = write_listed(&l, path);
    name_table_free(&l.by_name);
    arena_destroy(l.memory);
    return status;
}
