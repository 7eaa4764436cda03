/* Loads embeddings: one tensor of rows, and the word that prompts call it. */
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "format/tensors.h"
#include "model/model.h"
#include "model/trainable_internal.h"

/* The most vectors there is a use for: a prompt has room for 75. */
enum { MOST_VECTORS = 4096 };

#define ROWS "emb_params"
#define A1111_ROWS "string_to_param.*" /* in its .pt files: what the word * stands for */

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static const safetensors_entry *any_tensor(const safetensors *file, size_t index)
{
    const char *name, *type;
    const size_t read = safetensors_count(file);
    return index < read ? safetensors_at(file, index) : safetensors_skipped_at(file, index - read, &name, &type);
}

/* A file of other tensors: what it may be. */
static leco_status refuse(const safetensors *file, const char *name, leco_error *err)
{
    const char *path = safetensors_path(file);
    if (strcmp(name, "clip_l") == 0 || strcmp(name, "clip_g") == 0)
        return error_set(err, LECO_INVALID,
                         "%s: this embedding is for another model: tensor \"%s\" is for one with two text encoders",
                         path, name);
    if (starts_with(name, "lora_"))
        return error_set(err, LECO_INVALID, "%s: tensor \"%s\": this is a LoRA, which --lora loads", path, name);
    return error_set(err, LECO_INVALID,
                     "%s: tensor \"%s\" isn't an embedding's: expected " ROWS
                     " alone, or one tensor named as its token",
                     path, name);
}

/* The one tensor of rows. */
static leco_status find_rows(const safetensors *file, const safetensors_entry **out, leco_error *err)
{
    const size_t count = safetensors_count(file) + safetensors_skipped_count(file);
    if (count == 0) return error_set(err, LECO_FORMAT, "%s: holds no tensor", safetensors_path(file));
    *out = safetensors_find(file, A1111_ROWS);
    if (*out) return LECO_OK;
    for (size_t i = 0; i < count; i++) {
        *out = any_tensor(file, i);
        const char *name = (*out)->name;
        const bool foreign = strcmp(name, "clip_l") == 0 || strcmp(name, "clip_g") == 0 || starts_with(name, "lora_");
        if (foreign || (count > 1 && strcmp(name, ROWS) != 0)) return refuse(file, name, err);
    }
    return LECO_OK;
}

static leco_status check_rows(const safetensors *file, const safetensors_entry *e, int64_t width, int64_t *vectors,
                              leco_error *err)
{
    const char *path = safetensors_path(file);
    if (e->type == DTYPE_COUNT)
        return error_set(err, LECO_UNSUPPORTED, "%s: tensor \"%s\" is %s, which leco can't read yet", path, e->name,
                         safetensors_type(e));
    char text[SHAPE_TEXT];
    const shape s = shape_of(e->rank < TENSOR_MAX_DIMS ? e->rank : TENSOR_MAX_DIMS, e->shape);
    *vectors = e->rank == 2 ? e->shape[0] : 1;
    if (e->rank < 1 || e->rank > 2 || *vectors < 1 || *vectors > MOST_VECTORS)
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\" has shape %s, expected [vectors,%lld]", path, e->name,
                         shape_format(&s, text), (long long)width);
    if (e->shape[e->rank - 1] != width)
        return error_set(err, LECO_INVALID,
                         "%s: this embedding is for another model: tensor \"%s\" has shape %s, expected [vectors,%lld]",
                         path, e->name, shape_format(&s, text), (long long)width);
    return LECO_OK;
}

/* Are the rows called as in all files of their kind, rather than by the word? */
static bool is_nameless(const safetensors_entry *rows)
{
    return strcmp(rows->name, ROWS) == 0 || strcmp(rows->name, A1111_ROWS) == 0;
}

/* What the file says that it is called, or NULL. A phrase of several words tells what else to write into a prompt. */
static const char *told_token(const safetensors *file, const safetensors_entry *rows)
{
    if (!is_nameless(rows)) return rows->name;
    const char *phrase = safetensors_metadata(file, "modelspec.trigger_phrase");
    return phrase && *phrase && !strpbrk(phrase, " \t\r\n,") ? phrase : NULL;
}

/* The words that mean it: what the file says, and its name, unless that is diffusers' for all. */
static leco_status add_tokens(const safetensors *file, const safetensors_entry *rows, model *m, trainable_module *to,
                              leco_error *err)
{
    const char *told = told_token(file, rows);
    char *stem = file_stem(safetensors_path(file));
    if (!stem) return error_memory(err, 0, "an embedding's name");
    const bool by_file = is_nameless(rows) && (!told || strcmp(told, stem) != 0);
    to->token = mem_strdup(told ? told : stem);
    leco_status status = to->token ? model_add_token(m, to->token, to->rank, &to->first, err)
                                   : error_memory(err, strlen(stem), "an embedding's name");
    if (status == LECO_OK && told && by_file) {
        status = tokenizer_add(m->tokenizer, stem, to->first, (int32_t)to->rank, err);
        if (status == LECO_INVALID) status = LECO_OK; /* it has one name, which is enough */
    }
    mem_free(stem);
    return status == LECO_OK ? LECO_OK : error_prefix(err, status, "%s", safetensors_path(file));
}

static leco_status token_layer(model *m, const layer_info **out, leco_error *err)
{
    const layer_list *list;
    LECO_TRY(model_layers(m, PART_TEXT_ENCODER, &list, err));
    for (size_t i = 0; i < list->count; i++)
        if (list->layer[i].class == LAYER_TOKENS) {
            *out = &list->layer[i];
            return LECO_OK;
        }
    return error_set(err, LECO_INTERNAL, "the text encoder has no token table");
}

static leco_status fill(const safetensors *file, const safetensors_entry *rows, model *m, trainable *t, leco_error *err)
{
    const layer_info *layer = NULL;
    int64_t vectors = 0;
    LECO_TRY(token_layer(m, &layer, err));
    LECO_TRY(check_rows(file, rows, layer->out, &vectors, err));
    const trainable_module one = {.kind = &kind_embedding, .layer = *layer, .rank = vectors, .alpha = 1};
    LECO_TRY(trainable_put(t, 0, &one, err));
    LECO_TRY(trainable_finish(t, err));
    LECO_TRY(trainable_take(t, err));
    LECO_TRY(trainable_read_values(safetensors_path(file), rows, t->params[0].value, t->exact, err));
    return add_tokens(file, rows, m, &t->modules[0], err);
}

leco_status trainable_load_embedding(const char *path, model *m, dtype exact, trainable **out, leco_error *err)
{
    safetensors *file;
    const safetensors_entry *rows = NULL;
    trainable *t = NULL;
    *out = NULL;
    LECO_TRY(tensors_open(path, &file, err));
    leco_status status = find_rows(file, &rows, err);
    if (status == LECO_OK) status = trainable_begin(1, false, exact, &t, err);
    if (status == LECO_OK) status = fill(file, rows, m, t, err);
    safetensors_close(file);
    if (status != LECO_OK) {
        trainable_destroy(t);
        return status;
    }
    log_message(LOG_INFO, "%s: \"%s\" in a prompt stands for %lld vectors", path, t->modules[0].token,
                (long long)t->modules[0].rank);
    *out = t;
    return LECO_OK;
}
