#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "api/inspect.h"
#include "api/report.h"
#include "format/tensors.h"
#include "model/adapter_keys.h"
#include "model/adapter_open.h"
#include "model/checkpoint.h"
#include "model/kinds.h"
#include "model/other_families.h"

static json_t *shape_json(const safetensors_entry *e)
{
    json_t *list = json_array();
    for (int i = 0; i < e->rank; i++) json_array_append_new(list, json_integer(e->shape[i]));
    return list;
}

static bool ends_with(const char *text, const char *suffix)
{
    size_t a = strlen(text), b = strlen(suffix);
    return a >= b && strcmp(text + a - b, suffix) == 0;
}

/* A tensor's type: leco's name for it, or as the file spells one that leco doesn't compute with. */
static const char *type_name(const safetensors_entry *e)
{
    return e->type == DTYPE_COUNT ? safetensors_type(e) : dtype_name(e->type);
}

/* All parameters of a file, as far as they can be counted: types that leco doesn't know may claim any number. A LoRA's
 * alphas are settings: nobody trains them. */
static int64_t value_count(const safetensors *file)
{
    int64_t values = 0;
    for (size_t i = 0; i < safetensors_any_count(file); i++) {
        if (ends_with(safetensors_any_at(file, i)->name, ".alpha")) continue;
        const size_t count = safetensors_any_at(file, i)->count, room = (size_t)(INT64_MAX - values);
        values = count < room ? values + (int64_t)count : INT64_MAX;
    }
    return values;
}

static bool has_suffix(const safetensors *file, const char *suffix)
{
    for (size_t i = 0; i < safetensors_any_count(file); i++)
        if (ends_with(safetensors_any_at(file, i)->name, suffix)) return true;
    return false;
}

/* The kind of adapter of which a file has all tensors: of several the one with most of them. NULL: none. */
static const trainable_kind *kind_of_file(const safetensors *file)
{
    const trainable_kind *best = NULL;
    for (const trainable_kind *const *kind = trainable_kinds; *kind; kind++) {
        const size_t count = kind_file_params(*kind);
        bool all = !(*kind)->alone;
        for (size_t i = 0; i < count && all; i++) all = has_suffix(file, (*kind)->param[i].suffix);
        if (all && (!best || count > kind_file_params(best))) best = *kind;
    }
    return best;
}

/* Blocks of a file that couldn't be opened as an adapter, because of which way they turn, say. */
static bool is_unopened_oft(const char *name)
{
    return ends_with(name, ".oft_R.weight") || ends_with(name, ".oft_r") || ends_with(name, ".boft_R") ||
           ends_with(name, ".oft_blocks") || ends_with(name, ".oft_diag");
}

/* The kind of which a module is, seen by the one of its tensors that no other of its kinds has twice; NULL: it is
 * another tensor. */
static const trainable_kind *kind_of(const safetensors_entry *e)
{
    for (const trainable_kind *const *kind = trainable_kinds; *kind; kind++) {
        const bool ranked = (*kind)->size[KIND_RANK].dim >= 0;
        const size_t mark = ranked ? (size_t)(*kind)->size[KIND_RANK].param : kind_file_params(*kind) - 1;
        const int least = ranked ? (*kind)->size[KIND_RANK].dim + 1 : 1; /* dimensions */
        if ((*kind)->of_norm && e->rank != 1) continue;                  /* ComfyUI calls those of layers the same */
        if (!(*kind)->alone && ends_with(e->name, (*kind)->param[mark].suffix) && e->rank >= least) return *kind;
    }
    return is_unopened_oft(e->name) ? &kind_oft : NULL;
}

/* ---- adapters ---- */

/* How the keys are called: as somebody may ask who looks for the program that wrote them. */
static const char *layout_of(const safetensors *file)
{
    for (size_t i = 0; i < safetensors_any_count(file); i++) {
        layer_info layer;
        const char *name = safetensors_any_at(file, i)->name, *path = adapter_path(name, &layer);
        if (strncmp(name, "diffusion_model.", 16) == 0) return "ComfyUI";
        if (path && layer.part == PART_UNET) return adapter_path_is_original(path) ? "sd-scripts (SDXL)" : "kohya";
        if (strstr(name, ".lora_A.") || strstr(name, ".lora_B.") || strstr(name, "oft_R") || strstr(name, ".oft_r"))
            return "PEFT";
        if (strstr(name, "lora.up.") || strstr(name, "lora_linear_layer.up.")) return "diffusers (old)";
    }
    return "kohya";
}

/* For which family: a U-Net's cross-attention is as wide as the text's states. */
static const char *family_of_width(const safetensors *file)
{
    static const char *const ends[] = {"_attn2_to_k.lora_down.weight", "_attn2_to_v.lora_down.weight"};
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const safetensors_entry *e = safetensors_at(file, i);
        if (e->rank < 2 || !(ends_with(e->name, ends[0]) || ends_with(e->name, ends[1]))) continue;
        return e->shape[1] == 768 ? "sd1" : e->shape[1] == 1024 ? "sd2" : e->shape[1] == 2048 ? "sdxl" : NULL;
    }
    return NULL;
}

/* The rank that a module's marking tensor shows; an old GLoRA has it on the other side. */
static int64_t rank_of(const safetensors_entry *e, const trainable_kind *kind)
{
    const int64_t rank = e->shape[kind->size[KIND_RANK].dim];
    return kind == &kind_glora && e->rank > 1 && e->shape[1] < rank ? e->shape[1] : rank;
}

/* What an adapter's tensors say, under kohya's names and in plain forms: modules, and the ranks and alphas that occur.
 * NULL for other files. *found is their kind. */
static json_t *adapter_json(const safetensors *file, const trainable_kind **found)
{
    int64_t modules = 0, low = INT64_MAX, high = 0;
    double alpha_low = 0, alpha_high = 0, value;
    bool alphas = false, text = false;
    for (size_t i = 0; i < safetensors_any_count(file); i++) {
        const safetensors_entry *e = safetensors_any_at(file, i);
        const trainable_kind *kind = kind_of(e);
        if (kind) {
            const int dim = kind->size[KIND_RANK].dim;
            modules++;
            *found = kind;
            if (dim >= 0 && rank_of(e, kind) < low) low = rank_of(e, kind);
            if (dim >= 0 && rank_of(e, kind) > high) high = rank_of(e, kind);
            text = text || strncmp(e->name, "lora_te", 7) == 0;
        } else if (ends_with(e->name, ".alpha") && safetensors_number(e, &value)) {
            if (!alphas || value < alpha_low) alpha_low = value;
            if (!alphas || value > alpha_high) alpha_high = value;
            alphas = true;
        }
    }
    if (modules == 0) return NULL;
    json_t *o = json_object();
    json_object_set_new(o, "modules", json_integer(modules));
    const trainable_kind *whole = kind_of_file(file); /* else something is missing of each kind */
    if (whole) *found = whole;
    if (low <= high) json_object_set_new(o, "rank", low == high ? json_integer(low) : json_pack("[I, I]", low, high));
    if (alphas)
        json_object_set_new(o, "alpha",
                            alpha_low < alpha_high
                                ? json_pack("[o, o]", report_number(alpha_low), report_number(alpha_high))
                                : report_number(alpha_low));
    json_object_set_new(o, "text_encoder", json_boolean(text));
    return o;
}

/* NULL where the file is no adapter. */
static json_t *inspect_adapter(const safetensors *raw, const trainable_kind **kind)
{
    safetensors *file;
    if (adapter_open(safetensors_path(raw), &file, NULL) != LECO_OK) return adapter_json(raw, kind);
    json_t *o = adapter_json(file, kind);
    const char *family = family_of_width(file), *other = other_family_of_file(raw);
    if (other) family = other;
    if (o && family) json_object_set_new(o, "family", json_string(family));
    if (o) json_object_set_new(o, "keys", json_string(layout_of(raw)));
    safetensors_close(file);
    return o;
}

/* ---- others ---- */

static bool is_rows(const safetensors_entry *e)
{
    return e && (e->rank == 1 || e->rank == 2 || (e->rank == 3 && e->shape[0] == 1));
}

/* The rows of an embedding's file, for one text encoder or two; false for other files. A file of one tensor without
 * points in its name is diffusers', and the name its token. */
static bool find_rows(const safetensors *file, const safetensors_entry *out[2], const char **token)
{
    const safetensors_entry *a1111 = safetensors_find_any(file, "string_to_param.*");
    const safetensors_entry *l = safetensors_find_any(file, "clip_l"), *g = safetensors_find_any(file, "clip_g");
    const safetensors_entry *only =
        safetensors_any_count(file) == 1 ? safetensors_any_at(file, 0) : safetensors_find_any(file, "emb_params");
    *token = safetensors_metadata(file, a1111 ? "name" : "modelspec.trigger_phrase");
    out[0] = a1111 ? a1111 : l && g ? l : only;
    out[1] = !a1111 && l && g ? g : NULL;
    if (only && !a1111 && strcmp(only->name, "emb_params") != 0) {
        *token = only->name;
        if (strchr(only->name, '.') || only->rank > 2) return false;
    }
    return is_rows(out[0]) && (!out[1] || is_rows(out[1]));
}

static json_t *embedding_json(const safetensors *file)
{
    const safetensors_entry *rows[2];
    const char *token;
    if (!find_rows(file, rows, &token)) return NULL;
    json_t *o = json_object();
    json_object_set_new(o, "vectors", json_integer(rows[0]->rank >= 2 ? rows[0]->shape[rows[0]->rank - 2] : 1));
    json_t *width = json_integer(rows[0]->shape[rows[0]->rank - 1]);
    json_object_set_new(o, "width",
                        rows[1] ? json_pack("[o, I]", width, (json_int_t)rows[1]->shape[rows[1]->rank - 1]) : width);
    if (token) json_object_set_new(o, "token", json_string(token));
    return o;
}

/* ---- all ---- */

static void add_tensors(const safetensors *file, json_t *o)
{
    json_t *tensors = json_object(), *metadata = json_object();
    for (size_t i = 0; i < safetensors_any_count(file); i++) {
        const safetensors_entry *e = safetensors_any_at(file, i);
        json_t *t = json_object();
        json_object_set_new(t, "dtype", json_string(type_name(e)));
        json_object_set_new(t, "shape", shape_json(e));
        json_object_set_new(tensors, e->name, t);
    }
    for (size_t i = 0; i < safetensors_metadata_count(file); i++) {
        const char *key, *value;
        safetensors_metadata_at(file, i, &key, &value);
        json_object_set_new(metadata, key, json_string(value));
    }
    json_object_set_new(o, "metadata", metadata);
    json_object_set_new(o, "tensors", tensors);
}

void inspect_tensors(const safetensors *file, json_t *o)
{
    const trainable_kind *kind = NULL;
    json_t *adapter = inspect_adapter(file, &kind), *embedding = adapter ? NULL : embedding_json(file);
    const char *is = adapter ? kind->name : embedding ? "embedding" : checkpoint_is_vae(file) ? "vae" : "tensors";
    json_object_set_new(o, "kind", json_string(is));
    const char *other = adapter ? NULL : other_family_of_file(file);
    if (other) json_object_set_new(o, "family", json_string(other));
    json_object_set_new(o, "parameters", json_integer(value_count(file)));
    if (adapter) json_object_set_new(o, kind->name, adapter);
    if (embedding) json_object_set_new(o, "embedding", embedding);
    add_tensors(file, o);
}
