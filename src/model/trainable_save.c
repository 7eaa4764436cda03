#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/arena.h"
#include "base/mem.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "model/adapter_internal.h"

/* A file in the making; everything lies in the arena. */
typedef struct saver {
    const lora *l;
    const char *path;
    dtype type;
    arena *memory;
    safetensors_entry *entries;
    size_t count;
    const char *(*pairs)[2];
    size_t pair_count, pair_capacity;
    bool out_of_memory;
} saver;

static leco_status no_memory(const saver *s, leco_error *err)
{
    return error_memory(err, 0, s->path);
}

/* ---- tensors ---- */

static leco_status add_tensor(saver *s, const char *key, const char *suffix, shape shape4, const void *values,
                              dtype from, leco_error *err)
{
    safetensors_entry *e = &s->entries[s->count++];
    e->name = arena_printf(s->memory, "%s%s", key, suffix);
    e->type = s->type;
    e->rank = shape4.rank;
    memcpy(e->shape, shape4.dim, sizeof shape4.dim);
    e->count = (size_t)shape_count(&shape4);
    void *data = arena_alloc(s->memory, e->count, dtype_size(s->type));
    float *check = arena_alloc(s->memory, e->count, sizeof *check);
    if (!e->name || !data || !check) return no_memory(s, err);
    dtype_convert(data, s->type, values, from, e->count);
    dtype_convert(check, DTYPE_F32, data, s->type, e->count);
    for (size_t i = 0; i < e->count; i++)
        if (!isfinite(check[i]))
            return error_set(err, LECO_INVALID, "%s: not written: tensor \"%s\" has a value that is not a finite %s",
                             s->path, e->name, dtype_name(s->type));
    e->data = data;
    return LECO_OK;
}

static leco_status add_module(saver *s, const lora_module *m, leco_error *err)
{
    char *key = lora_key(m->part, m->path);
    if (!key) return no_memory(s, err);
    const void *down = m->kernel == 1 ? m->down.value : m->down_kernel.data;
    const void *up = m->up_loaded ? m->up_loaded : m->up.value;
    shape down_shape = m->is_conv ? SHAPE(m->rank, m->in, m->kernel, m->kernel) : SHAPE(m->rank, m->in);
    shape up_shape = m->is_conv ? SHAPE(m->out, m->rank, 1, 1) : SHAPE(m->out, m->rank);
    leco_status status = add_tensor(s, key, LORA_DOWN, down_shape, down, s->l->exact, err);
    if (status == LECO_OK) status = add_tensor(s, key, LORA_UP, up_shape, up, s->l->exact, err);
    if (status == LECO_OK) status = add_tensor(s, key, LORA_ALPHA, (shape){0}, &m->alpha, DTYPE_F32, err);
    mem_free(key);
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const safetensors_entry *)a)->name, ((const safetensors_entry *)b)->name);
}

static leco_status add_tensors(saver *s, leco_error *err)
{
    s->entries = arena_alloc(s->memory, 3 * s->l->count, sizeof *s->entries);
    if (!s->entries) return no_memory(s, err);
    for (size_t i = 0; i < s->l->count; i++) LECO_TRY(add_module(s, &s->l->modules[i], err));
    /* By name, as the safetensors library orders them: sd-scripts' hashes are over that order. */
    qsort(s->entries, s->count, sizeof *s->entries, by_name);
    return LECO_OK;
}

/* ---- metadata ---- */

#define OWN_PAIRS 32

static void add_pair(saver *s, const char *key, const char *value)
{
    if (!value || s->pair_count == s->pair_capacity) return;
    s->pairs[s->pair_count][0] = key;
    s->pairs[s->pair_count++][1] = value;
}

/* As Python prints a float: 1.0, 0.5. */
static const char *number_text(saver *s, double value)
{
    char text[40];
    snprintf(text, sizeof text, "%.9g", value);
    if (!strpbrk(text, ".en")) strcat(text, ".0");
    const char *copy = arena_strdup(s->memory, text);
    if (!copy) s->out_of_memory = true;
    return copy;
}

/* The rank and alpha of all modules, or "Dynamic" where they differ. */
static void add_network(saver *s)
{
    const lora_module *first = &s->l->modules[0];
    bool same_rank = true, same_alpha = true;
    for (size_t i = 1; i < s->l->count; i++) {
        same_rank = same_rank && s->l->modules[i].rank == first->rank;
        same_alpha = same_alpha && s->l->modules[i].alpha == first->alpha;
    }
    const char *rank = same_rank ? arena_printf(s->memory, "%" PRId64, first->rank) : "Dynamic";
    if (!rank) s->out_of_memory = true;
    add_pair(s, "ss_network_module", "networks.lora");
    add_pair(s, "ss_network_dim", rank);
    add_pair(s, "ss_network_alpha", same_alpha ? number_text(s, first->alpha) : "Dynamic");
}

static void add_training(saver *s, const lora_metadata *m)
{
    add_network(s);
    add_pair(s, "ss_base_model_version", m->base_model_version);
    add_pair(s, "ss_output_name", m->output_name);
    add_pair(s, "ss_training_comment", m->comment);
    for (size_t i = 0; i < m->extra_count; i++) add_pair(s, m->extra[i][0], m->extra[i][1]);
}

static void add_modelspec(saver *s, const lora_metadata *m, const char *hash)
{
    bool sdxl = m->architecture && strncmp(m->architecture, "stable-diffusion-xl", 19) == 0;
    const char *prefixed = arena_printf(s->memory, "0x%s", hash);
    if (!prefixed) s->out_of_memory = true;
    add_pair(s, "modelspec.sai_model_spec", "1.0.1");
    add_pair(s, "modelspec.architecture", m->architecture);
    add_pair(s, "modelspec.implementation", sdxl ? "https://github.com/Stability-AI/generative-models" : "diffusers");
    add_pair(s, "modelspec.title", m->output_name);
    add_pair(s, "modelspec.resolution", m->resolution);
    add_pair(s, "modelspec.date", m->date);
    add_pair(s, "modelspec.prediction_type", m->prediction_type);
    add_pair(s, "modelspec.hash_sha256", prefixed);
}

void lora_metadata_describe(lora_metadata *m, const unet_config *config, bool v_prediction)
{
    m->prediction_type = v_prediction ? "v" : "epsilon";
    if (config->addition_time_embed_dim) {
        m->base_model_version = "sdxl_base_v1-0";
        m->architecture = "stable-diffusion-xl-v1-base/lora";
    } else if (config->use_linear_projection) {
        m->base_model_version = v_prediction ? "sd_v2_v" : "sd_v2";
        m->architecture = v_prediction ? "stable-diffusion-v2-768-v/lora" : "stable-diffusion-v2-512/lora";
    } else {
        m->base_model_version = "sd_v1";
        m->architecture = "stable-diffusion-v1/lora";
    }
}

/* ---- hashes, as sd-scripts computes them for sd-webui-additional-networks ---- */

#define SHA256_TEXT 65
#define LEGACY_FROM 0x100000 /* the legacy hash covers 64 KiB of the file from 1 MiB on, whatever lies there */
#define LEGACY_BYTES 0x10000

/* SHA-256 of bytes [from, from + length) of the tensors' data laid end to end, in hexadecimal. */
static bool hash_data(const saver *s, size_t from, size_t length, char text[SHA256_TEXT])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int digest_size = 0;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1;
    size_t position = 0; /* of the entry in the data */
    for (size_t i = 0; i < s->count && good && length; i++) {
        const safetensors_entry *e = &s->entries[i];
        size_t size = e->count * dtype_size(e->type);
        if (from < position + size) {
            size_t skip = from - position;
            size_t part = size - skip < length ? size - skip : length;
            good = EVP_DigestUpdate(context, (const unsigned char *)e->data + skip, part) == 1;
            from += part;
            length -= part;
        }
        position += size;
    }
    good = good && EVP_DigestFinal_ex(context, digest, &digest_size) == 1 && 2 * digest_size + 1 == SHA256_TEXT;
    EVP_MD_CTX_free(context);
    for (unsigned int i = 0; good && i < digest_size; i++) snprintf(text + 2 * (size_t)i, 3, "%02x", digest[i]);
    return good;
}

/* Where the tensors' data would begin in a file with the metadata so far: the legacy hash depends on it. */
static size_t data_begin(const saver *s)
{
    json_t *header = json_object(), *metadata = json_object();
    size_t offset = 0;
    for (size_t i = 0; i < s->pair_count; i++)
        json_object_set_new(metadata, s->pairs[i][0], json_string(s->pairs[i][1]));
    json_object_set_new(header, "__metadata__", metadata);
    for (size_t i = 0; i < s->count; i++) {
        const safetensors_entry *e = &s->entries[i];
        size_t end = offset + e->count * dtype_size(e->type);
        json_t *dims = json_array();
        for (int k = 0; k < e->rank; k++) json_array_append_new(dims, json_integer(e->shape[k]));
        const char *name = e->type == DTYPE_F32 ? "F32" : e->type == DTYPE_F16 ? "F16" : "BF16";
        json_object_set_new(header, e->name,
                            json_pack("{s:s,s:o,s:[I,I]}", "dtype", name, "shape", dims, "data_offsets",
                                      (json_int_t)offset, (json_int_t)end));
        offset = end;
    }
    size_t length = json_dumpb(header, NULL, 0, JSON_COMPACT);
    json_decref(header);
    return sizeof(uint64_t) + (length + 7) / 8 * 8;
}

static leco_status add_hashes(saver *s, char model_hash[SHA256_TEXT], leco_error *err)
{
    char legacy[SHA256_TEXT];
    size_t begin = data_begin(s);
    size_t from = begin < LEGACY_FROM ? LEGACY_FROM - begin : 0;
    if (!hash_data(s, 0, SIZE_MAX, model_hash) || !hash_data(s, from, LEGACY_BYTES, legacy))
        return error_set(err, LECO_INTERNAL, "%s: libcrypto could not compute a SHA-256", s->path);
    legacy[8] = '\0';
    add_pair(s, "sshs_model_hash", model_hash);
    const char *copy = arena_strdup(s->memory, legacy);
    if (!copy) s->out_of_memory = true;
    add_pair(s, "sshs_legacy_hash", copy);
    return LECO_OK;
}

/* ---- */

static leco_status save(saver *s, const lora_metadata *m, leco_error *err)
{
    char model_hash[SHA256_TEXT];
    LECO_TRY(add_tensors(s, err));
    s->pair_capacity = OWN_PAIRS + m->extra_count;
    s->pairs = arena_alloc(s->memory, s->pair_capacity, sizeof *s->pairs);
    if (!s->pairs) return no_memory(s, err);
    add_training(s, m);
    LECO_TRY(add_hashes(s, model_hash, err)); /* of the tensors and what is in `pairs` up to here */
    add_modelspec(s, m, model_hash);
    if (s->out_of_memory) return no_memory(s, err);
    return safetensors_write(s->path, s->entries, s->count, (const char *const(*)[2])s->pairs, s->pair_count, err);
}

leco_status lora_save(const lora *l, const char *path, dtype type, const lora_metadata *metadata, leco_error *err)
{
    static const lora_metadata none;
    if (type != DTYPE_F32 && type != DTYPE_F16 && type != DTYPE_BF16)
        return error_set(err, LECO_INVALID, "%s: a LoRA is saved as float32, float16 or bfloat16, not %s", path,
                         dtype_name(type));
    saver s = {.l = l, .path = path, .type = type, .memory = arena_create()};
    if (!s.memory) return no_memory(&s, err);
    leco_status status = save(&s, metadata ? metadata : &none, err);
    arena_destroy(s.memory);
    return status;
}
