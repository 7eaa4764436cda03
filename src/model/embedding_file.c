/* Loads embeddings: a tensor of rows, or one for each of two text encoders, and the word that prompts call it. */
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "format/tensors.h"
#include "model/adapter_open.h"
#include "model/part.h"
#include "model/trainable_internal.h"

/* The most vectors there is a use for: a prompt has room for 75. */
enum { MOST_VECTORS = 4096 };

#define ROWS "emb_params"
#define A1111_ROWS "string_to_param.*" /* in its .pt files: what the word * stands for */

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* The tensors of rows: one for each text encoder of the model. */
typedef struct rows_of_file {
    const safetensors_entry *of[MODEL_MOST_TEXTS];
    size_t count;
    const char *token; /* what prompts call it; NULL: as the file says, or is called */
} rows_of_file;

/* Of the tensor for the first or second of two text encoders. */
static const char *of_two(size_t which)
{
    return which == 0 ? part_rows[PART_TEXT_ENCODER].first_rows : part_rows[PART_TEXT_ENCODER_2].rows;
}

static bool is_of_two(const char *name)
{
    return strcmp(name, of_two(0)) == 0 || strcmp(name, of_two(1)) == 0;
}

/* A file of other tensors: what it may be. */
static leco_status refuse(const safetensors *file, const char *name, leco_error *err)
{
    const char *path = safetensors_path(file);
    if (is_of_two(name))
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

static leco_status find_both(const safetensors *file, rows_of_file *out, leco_error *err)
{
    const size_t count = safetensors_any_count(file);
    out->count = MODEL_MOST_TEXTS;
    for (size_t i = 0; i < out->count; i++) out->of[i] = safetensors_find_any(file, of_two(i));
    for (size_t i = 0; i < count; i++) {
        const char *name = safetensors_any_at(file, i)->name;
        if (starts_with(name, "lora_")) return refuse(file, name, err);
    }
    if (out->of[0] && out->of[1]) return LECO_OK;
    return error_set(err, LECO_INVALID,
                     "%s: this embedding is for another model: one for two text encoders has the tensors \"%s\" and "
                     "\"%s\"",
                     safetensors_path(file), of_two(0), of_two(1));
}

/* How long it was trained, which some leave beside it. */
static bool is_count(const safetensors_entry *e)
{
    return e->count == 1 && (strcmp(e->name, "step") == 0 || strcmp(e->name, "step_count") == 0);
}

static leco_status find_rows(const safetensors *file, const model *m, rows_of_file *out, leco_error *err)
{
    const size_t count = safetensors_any_count(file);
    if (count == 0) return error_set(err, LECO_FORMAT, "%s: holds no tensor", safetensors_path(file));
    if (model_has(m, PART_TEXT_ENCODER_2)) return find_both(file, out, err);
    *out = (rows_of_file){.of = {safetensors_find(file, A1111_ROWS)}, .count = 1};
    if (out->of[0]) return LECO_OK;
    for (size_t i = 0; i < count; i++) {
        const safetensors_entry *e = safetensors_any_at(file, i);
        if (count > 1 && is_count(e)) continue;
        if (is_of_two(e->name) || starts_with(e->name, "lora_") || (count > 1 && strcmp(e->name, ROWS) != 0))
            return refuse(file, e->name, err);
        out->of[0] = e;
    }
    return out->of[0] ? LECO_OK : refuse(file, safetensors_any_at(file, 0)->name, err);
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
    const bool in_batch = e->rank == 3 && e->shape[0] == 1; /* [1,vectors,width] */
    *vectors = e->rank == 2 || in_batch ? e->shape[e->rank - 2] : 1;
    if (e->rank < 1 || (e->rank > 2 && !in_batch) || *vectors < 1 || *vectors > MOST_VECTORS)
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
    return strcmp(rows->name, ROWS) == 0 || strcmp(rows->name, A1111_ROWS) == 0 || is_of_two(rows->name);
}

/* What the file says that it is called, or NULL. A phrase of several words tells what else to write into a prompt. */
static const char *told_token(const safetensors *file, const safetensors_entry *rows)
{
    if (!is_nameless(rows)) return rows->name;
    const char *phrase = safetensors_metadata(file, "modelspec.trigger_phrase");
    return phrase && *phrase && !strpbrk(phrase, " \t\r\n,") ? phrase : NULL;
}

/* Another word for it; one that can't be is let be: it has a name, which is enough. */
static leco_status add_alias(const char *word, model *m, const trainable_module *to, leco_error *err)
{
    if (!word || !*word || strpbrk(word, " \t\r\n,") || strcmp(word, to->token) == 0) return LECO_OK;
    const leco_status status = model_name_token(m, word, to->first, to->rank, err);
    return status == LECO_INVALID ? LECO_OK : status;
}

/* The words that mean it: what the file says, and its name, unless that is diffusers' for all. A1111 goes by the file's
 * name, too; the one in its pickles is what it was trained as. */
static leco_status add_tokens(const safetensors *file, const safetensors_entry *rows, model *m, trainable_module *to,
                              leco_error *err)
{
    const char *told = told_token(file, rows);
    char *stem = file_stem(safetensors_path(file));
    if (!stem) return error_memory(err, 0, "an embedding's name");
    const bool by_file = is_nameless(rows) && (!told || strcmp(told, stem) != 0);
    leco_error why = {0};
    to->token = mem_strdup(told ? told : stem);
    leco_status status = to->token ? model_add_token(m, to->token, to->rank, &to->first, &why)
                                   : error_memory(&why, strlen(stem), "an embedding's name");
    if (status != LECO_OK)
        error_set(err, status, "%s: %s%s", safetensors_path(file), why.message,
                  !told && status == LECO_INVALID ? "; prompts call it as its file is called: rename the file" : "");
    if (status == LECO_OK && told && by_file) {
        status = model_name_token(m, stem, to->first, to->rank, err);
        if (status == LECO_INVALID) status = LECO_OK; /* it has one name, which is enough */
    }
    if (status == LECO_OK && strcmp(rows->name, A1111_ROWS) == 0)
        status = add_alias(safetensors_metadata(file, "name"), m, to, err);
    mem_free(stem);
    return status;
}

static leco_status token_layer(model *m, model_part part, const layer_info **out, leco_error *err)
{
    const layer_list *list;
    LECO_TRY(model_layers(m, part, &list, err));
    for (size_t i = 0; i < list->count; i++)
        if (list->layer[i].class == LAYER_TOKENS) {
            *out = &list->layer[i];
            return LECO_OK;
        }
    return error_set(err, LECO_INTERNAL, "the text encoder has no token table");
}

static leco_status put(const safetensors *file, const safetensors_entry *rows, model *m, trainable *t, size_t index,
                       int64_t *vectors, leco_error *err)
{
    const layer_info *layer = NULL;
    LECO_TRY(token_layer(m, index == 0 ? PART_TEXT_ENCODER : PART_TEXT_ENCODER_2, &layer, err));
    LECO_TRY(check_rows(file, rows, layer->out, vectors, err));
    const trainable_module one = {.kind = &kind_embedding, .layer = *layer, .rank = *vectors, .alpha = 1};
    return trainable_put(t, index, &one, err);
}

/* The word of one that comes with a LoRA. */
static leco_status add_told(const safetensors *file, const char *token, model *m, trainable_module *to, leco_error *err)
{
    to->token = mem_strdup(token);
    leco_status status = to->token ? model_add_token(m, token, to->rank, &to->first, err)
                                   : error_memory(err, strlen(token), "an embedding's name");
    return status == LECO_OK ? LECO_OK : error_prefix(err, status, "%s", safetensors_path(file));
}

static leco_status fill(const safetensors *file, const rows_of_file *rows, model *m, trainable *t, leco_error *err)
{
    int64_t vectors[MODEL_MOST_TEXTS];
    for (size_t i = 0; i < rows->count; i++) {
        LECO_TRY(put(file, rows->of[i], m, t, i, &vectors[i], err));
        if (vectors[i] != vectors[0])
            return error_set(err, LECO_FORMAT, "%s: tensor \"%s\" has %lld vectors, tensor \"%s\" %lld",
                             safetensors_path(file), rows->of[0]->name, (long long)vectors[0], rows->of[i]->name,
                             (long long)vectors[i]);
    }
    LECO_TRY(trainable_finish(t, err));
    LECO_TRY(trainable_take(t, err));
    for (size_t i = 0; i < rows->count; i++)
        LECO_TRY(trainable_read_values(safetensors_path(file), rows->of[i], t->params[i].value, t->exact, err));
    trainable_module *first = &t->modules[0];
    LECO_TRY(rows->token ? add_told(file, rows->token, m, first, err) : add_tokens(file, rows->of[0], m, first, err));
    for (size_t i = 1; i < rows->count; i++) t->modules[i].first = t->modules[0].first;
    return LECO_OK;
}

static leco_status load(const safetensors *file, const rows_of_file *rows, model *m, dtype exact, trainable **out,
                        leco_error *err)
{
    trainable *t = NULL;
    *out = NULL;
    leco_status status = trainable_begin(rows->count, false, exact, &t, err);
    if (status == LECO_OK) status = fill(file, rows, m, t, err);
    if (status != LECO_OK) {
        trainable_destroy(t);
        return status;
    }
    log_message(LOG_INFO, "%s: \"%s\" in a prompt stands for %lld vector%s", safetensors_path(file),
                t->modules[0].token, (long long)t->modules[0].rank, t->modules[0].rank == 1 ? "" : "s");
    *out = t;
    return LECO_OK;
}

leco_status trainable_load_embedding(const char *path, model *m, dtype exact, trainable **out, leco_error *err)
{
    safetensors *file;
    rows_of_file rows = {.count = 0};
    *out = NULL;
    LECO_TRY(tensors_open(path, &file, err));
    leco_status status = safetensors_widen(file, err);
    if (status == LECO_OK) status = find_rows(file, m, &rows, err);
    if (status == LECO_OK) status = load(file, &rows, m, exact, out, err);
    safetensors_close(file);
    return status;
}

/* ---- those that come with a LoRA ---- */

/* "bundle_emb.NAME.TENSOR": the length of NAME, and where TENSOR begins; 0: the name is none of those. */
static size_t bundled_name(const char *name, const char **rows)
{
    const size_t begin = sizeof ADAPTER_BUNDLE - 1;
    const char *end = starts_with(name, ADAPTER_BUNDLE) ? strchr(name + begin, '.') : NULL;
    if (!end) return 0;
    *rows = end + 1;
    return (size_t)(end - name) - begin;
}

/* The rows of the embedding that `name` is the first tensor of, with their token, which is to be freed. Without a
 * token: they are of one that was seen before, or for a model with another number of text encoders. */
static leco_status find_bundled(const safetensors *file, const model *m, size_t index, rows_of_file *out,
                                leco_error *err)
{
    static const char *const of_one[] = {ROWS, A1111_ROWS};
    const char *rows, *name = safetensors_at(file, index)->name;
    const size_t length = bundled_name(name, &rows);
    const bool two = model_has(m, PART_TEXT_ENCODER_2);
    *out = (rows_of_file){.count = two ? MODEL_MOST_TEXTS : 1};
    for (size_t i = 0; length && i < safetensors_count(file); i++) {
        const safetensors_entry *e = safetensors_at(file, i);
        if (bundled_name(e->name, &rows) != length || strncmp(e->name, name, strlen(ADAPTER_BUNDLE) + length) != 0)
            continue;
        if (i < index) return LECO_OK;
        for (size_t k = 0; k < 2; k++)
            if (strcmp(rows, two ? of_two(k) : of_one[k]) == 0) out->of[two ? k : 0] = e;
    }
    if (length == 0) return LECO_OK;
    if (!out->of[0] || !out->of[out->count - 1])
        return error_set(err, LECO_INVALID, "%s: the embedding of tensor \"%s\" is for another model: expected %s",
                         safetensors_path(file), name, two ? "clip_l and clip_g" : ROWS " or " A1111_ROWS);
    out->token = mem_strndup(name + strlen(ADAPTER_BUNDLE), length);
    return out->token ? LECO_OK : error_memory(err, length, "an embedding's name");
}

/* Each file has few. */
static leco_status add_bundled(const safetensors *file, const rows_of_file *rows, model *m, dtype exact,
                               trainable_list *out, leco_error *err)
{
    trainable **grown = mem_realloc(out->at, out->count + 1, sizeof *grown);
    if (!grown) return error_memory(err, (out->count + 1) * sizeof *grown, "embeddings");
    out->at = grown;
    leco_status status = load(file, rows, m, exact, &out->at[out->count], err);
    if (status == LECO_OK) out->count++;
    return status;
}

void trainable_list_free(trainable_list *list)
{
    for (size_t i = 0; i < list->count; i++) trainable_destroy(list->at[i]);
    mem_free(list->at);
    *list = (trainable_list){0};
}

leco_status trainable_load_bundled(const char *path, model *m, dtype exact, trainable_list *out, leco_error *err)
{
    safetensors *file;
    *out = (trainable_list){0};
    LECO_TRY(tensors_open(path, &file, err));
    leco_status status = safetensors_widen(file, err);
    for (size_t i = 0; i < safetensors_count(file) && status == LECO_OK; i++) {
        rows_of_file rows;
        status = find_bundled(file, m, i, &rows, err);
        if (status == LECO_OK && rows.token) status = add_bundled(file, &rows, m, exact, out, err);
        mem_free((char *)(uintptr_t)rows.token);
    }
    safetensors_close(file);
    if (status != LECO_OK) trainable_list_free(out);
    return status;
}
