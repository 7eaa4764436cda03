#include "model/adapter_metadata.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/mem.h"
#include "model/family.h"
#include "model/trainable_internal.h"

static leco_status no_memory(const adapter_file *f, leco_error *err)
{
    return error_memory(err, 0, f->path);
}

#define OWN_PAIRS 32

static void add_pair(adapter_file *f, const char *key, const char *value)
{
    if (!value || f->pair_count == f->pair_capacity) return;
    f->pairs[f->pair_count][0] = key;
    f->pairs[f->pair_count++][1] = value;
}

/* The same with a text in the arena, NULL where there was no memory for it. */
static leco_status add_text(adapter_file *f, const char *key, const char *text, leco_error *err)
{
    if (!text) return no_memory(f, err);
    add_pair(f, key, text);
    return LECO_OK;
}

/* As Python prints a float: 1.0, 0.5. */
static const char *number_text(adapter_file *f, double value)
{
    char text[40];
    snprintf(text, sizeof text, "%.9g", value);
    if (!strpbrk(text, ".en")) strcat(text, ".0");
    return arena_strdup(f->memory, text);
}

/* The kind, and the rank and alpha of all modules, or "Dynamic" where they differ. */
static leco_status add_network(adapter_file *f, const trainable *t, leco_error *err)
{
    const trainable_module *first = &t->modules[0];
    if (!first->kind->file_module) return LECO_OK;
    bool same_rank = true, same_alpha = true;
    for (size_t i = 1; i < t->module_count; i++) {
        same_rank = same_rank && t->modules[i].rank == first->rank;
        same_alpha = same_alpha && t->modules[i].alpha == first->alpha;
    }
    add_pair(f, "ss_network_module", first->kind->file_module);
    LECO_TRY(
        add_text(f, "ss_network_dim", same_rank ? arena_printf(f->memory, "%" PRId64, first->rank) : "Dynamic", err));
    return add_text(f, "ss_network_alpha", same_alpha ? number_text(f, first->alpha) : "Dynamic", err);
}

static void add_training(adapter_file *f, const trainable_metadata *m)
{
    if (m->family) add_pair(f, "ss_base_model_version", m->family->saved[m->v_prediction].base_model_version);
    add_pair(f, "ss_output_name", m->output_name);
    add_pair(f, "ss_training_comment", m->comment);
    for (size_t i = 0; i < m->extra_count; i++) add_pair(f, m->extra[i][0], m->extra[i][1]);
}

static leco_status add_modelspec(adapter_file *f, const trainable *t, const trainable_metadata *m, const char *hash,
                                 leco_error *err)
{
    add_pair(f, "modelspec.sai_model_spec", "1.0.1");
    if (m->family) {
        const char *architecture = arena_printf(f->memory, "%s/%s", m->family->saved[m->v_prediction].architecture,
                                                t->modules[0].kind->architecture);
        LECO_TRY(add_text(f, "modelspec.architecture", architecture, err));
        add_pair(f, "modelspec.implementation", m->family->implementation);
    }
    add_pair(f, "modelspec.title", m->output_name);
    add_pair(f, "modelspec.trigger_phrase", t->modules[0].token);
    add_pair(f, "modelspec.resolution", m->resolution);
    add_pair(f, "modelspec.date", m->date);
    if (m->family) add_pair(f, "modelspec.prediction_type", m->v_prediction ? "v" : "epsilon");
    return add_text(f, "modelspec.hash_sha256", arena_printf(f->memory, "0x%s", hash), err);
}

/* ---- hashes, as sd-scripts computes them for sd-webui-additional-networks ---- */

#define LEGACY_FROM 0x100000 /* the legacy hash covers 64 KiB of the file from 1 MiB on, whatever lies there */
#define LEGACY_BYTES 0x10000

/* SHA-256 of bytes [from, from + length) of the tensors' data laid end to end, in hexadecimal. */
static leco_status hash_data(const adapter_file *f, size_t from, size_t length, char text[DIGEST_TEXT], leco_error *err)
{
    digest *d = digest_create();
    if (!d) return error_memory(err, 0, "a SHA-256");
    size_t position = 0; /* of the entry in the data */
    for (size_t i = 0; i < f->count && length; i++) {
        const safetensors_entry *e = &f->entries[i];
        size_t size = e->count * dtype_size(e->type);
        if (from < position + size) {
            size_t skip = from - position;
            size_t part = size - skip < length ? size - skip : length;
            digest_add(d, (const unsigned char *)e->data + skip, part);
            from += part;
            length -= part;
        }
        position += size;
    }
    const bool good = digest_text(d, text);
    digest_destroy(d);
    return good ? LECO_OK : error_set(err, LECO_INTERNAL, "%s: libcrypto could not compute a SHA-256", f->path);
}

static leco_status add_hashes(adapter_file *f, char model_hash[DIGEST_TEXT], leco_error *err)
{
    char legacy[DIGEST_TEXT];
    size_t begin; /* of the data in a file with the metadata so far: what the legacy hash counts from */
    LECO_TRY(safetensors_data_begin(f->path, f->entries, f->count, (const char *const(*)[2])f->pairs, f->pair_count,
                                    &begin, err));
    size_t from = begin < LEGACY_FROM ? LEGACY_FROM - begin : 0;
    LECO_TRY(hash_data(f, 0, SIZE_MAX, model_hash, err));
    LECO_TRY(hash_data(f, from, LEGACY_BYTES, legacy, err));
    legacy[8] = '\0';
    LECO_TRY(add_text(f, "sshs_model_hash", arena_strdup(f->memory, model_hash), err));
    return add_text(f, "sshs_legacy_hash", arena_strdup(f->memory, legacy), err);
}

leco_status adapter_metadata_add(adapter_file *f, const trainable *t, const trainable_metadata *m, leco_error *err)
{
    char model_hash[DIGEST_TEXT];
    f->pair_capacity = OWN_PAIRS + m->extra_count;
    f->pairs = arena_alloc(f->memory, f->pair_capacity, sizeof *f->pairs);
    if (!f->pairs) return no_memory(f, err);
    LECO_TRY(add_network(f, t, err));
    add_training(f, m);
    LECO_TRY(add_hashes(f, model_hash, err)); /* of the tensors and what is in `pairs` up to here */
    return add_modelspec(f, t, m, model_hash, err);
}

char *adapter_file_hash(const char *path)
{
    file_map map;
    char text[DIGEST_TEXT];
    if (file_map_open(path, &map, NULL) != LECO_OK) return NULL;
    digest *d = digest_create();
    if (d) digest_add(d, map.data, map.size);
    const bool good = d && digest_text(d, text);
    digest_destroy(d);
    file_map_close(&map);
    return good ? mem_strndup(text, 12) : NULL;
}
