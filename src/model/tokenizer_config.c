#include "model/tokenizer_config.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/config_json.h"

#define CLIP_LENGTH 77
#define MOST_LENGTH 4096 /* a longer model_max_length is transformers' way of saying that there is none */

/* Keys of tokenizer_config.json that transformers' tokenizers know (4.57 to 5.24). */
static const config_key keys[] = {
    /* read */
    {"added_tokens_decoder", NULL},
    {"additional_special_tokens", NULL},
    {"extra_special_tokens", NULL},
    {"bos_token", NULL},
    {"eos_token", NULL},
    {"unk_token", NULL},
    {"pad_token", NULL},
    {"sep_token", NULL},
    {"cls_token", NULL},
    {"mask_token", NULL},
    {"model_max_length", NULL},
    {"max_len", NULL},
    /* other ids */
    {"padding_side", "\"right\"|null"},
    {"truncation_side", "\"right\"|null"},
    {"split_special_tokens", "false|null"},
    {"tokenizer_class", "\"CLIPTokenizer\"|\"CLIPTokenizerFast\"|\"TokenizersBackend\"|null"},
    {"vocab_file", "null"}, /* another than the folder's */
    {"merges_file", "null"},
    /* what CLIPTokenizer passes over: it always writes small letters, adds no space, and has a start and an end */
    {"do_lower_case", NULL},
    {"add_prefix_space", NULL},
    {"add_bos_token", NULL},
    {"add_eos_token", NULL},
    {"strip_accents", NULL},
    {"tokenize_chinese_chars", NULL},
    {"trim_offsets", NULL},
    /* of ids to text, or of how transformers holds a tokenizer */
    {"errors", NULL},
    {"clean_up_tokenization_spaces", NULL},
    {"model_input_names", NULL},
    {"return_token_type_ids", NULL},
    {"return_attention_mask", NULL},
    {"name_or_path", NULL},
    {"init_inputs", NULL},
    {"special_tokens_map_file", NULL},
    {"tokenizer_file", NULL},
    {"added_tokens_file", NULL},
    {"auto_map", NULL},
    {"backend", NULL},
    {"chat_template", NULL},
    {"device_map", NULL},
    {"from_slow", NULL},
    {"is_local", NULL},
    {"legacy", NULL},
    {"local_files_only", NULL},
    {"max_length", NULL},
    {"processor_class", NULL},
    {"trust_remote_code", NULL},
    {"use_fast", NULL},
    {"verbose", NULL},
    {NULL, NULL},
};

/* What the JSON files beside the vocabulary say. */
typedef struct settings {
    char *path, *map_path, *added_path, *whole_path;
    json_t *config; /* tokenizer_config.json */
    json_t *map; /* special_tokens_map.json, and so on: NULL where the config lists its added tokens, for then, as in */
    json_t *added; /* transformers, the others don't count */
    json_t *whole; /* tokenizer.json */
} settings;

static leco_status read_optional(const char *folder, const char *name, bool wanted, char **path, json_t **out,
                                 leco_error *err)
{
    *path = file_join(folder, name);
    if (!*path) return error_memory(err, strlen(folder), "a path");
    if (!wanted || !file_exists(*path)) return LECO_OK;
    LECO_TRY(json_read_file(*path, out, err));
    if (!json_is_object(*out)) return error_set(err, LECO_FORMAT, "%s: expected a JSON object", *path);
    return LECO_OK;
}

static leco_status read_settings(const char *folder, settings *s, leco_error *err)
{
    LECO_TRY(read_optional(folder, "tokenizer_config.json", true, &s->path, &s->config, err));
    bool old = !json_is_object(json_object_get(s->config, "added_tokens_decoder"));
    LECO_TRY(read_optional(folder, "special_tokens_map.json", old, &s->map_path, &s->map, err));
    LECO_TRY(read_optional(folder, "added_tokens.json", old, &s->added_path, &s->added, err));
    LECO_TRY(read_optional(folder, "tokenizer.json", old, &s->whole_path, &s->whole, err));
    return config_check(s->config, s->path, keys, CONFIG_WARN_OF_UNKNOWN, err);
}

static void free_settings(settings *s)
{
    json_decref(s->config);
    json_decref(s->map);
    json_decref(s->added);
    json_decref(s->whole);
    mem_free(s->path);
    mem_free(s->map_path);
    mem_free(s->added_path);
    mem_free(s->whole_path);
}

/* A token is given as a string or as an object with its content. */
static const char *content_of(const json_t *value)
{
    if (json_is_object(value)) value = json_object_get(value, "content");
    return json_is_text(value) ? json_string_value(value) : NULL;
}

leco_status token_config_add(token_config *c, arena *memory, const special_token *one, leco_error *err)
{
    special_token *grown = mem_realloc(c->special, c->special_count + 1, sizeof *grown);
    if (!grown) return error_memory(err, (c->special_count + 1) * sizeof *grown, "a tokenizer");
    c->special = grown;
    grown[c->special_count] = *one;
    grown[c->special_count].text = arena_strdup(memory, one->text);
    if (!grown[c->special_count].text) return error_memory(err, one->size, "a tokenizer");
    c->special_count++;
    return LECO_OK;
}

void token_config_free(token_config *c)
{
    mem_free(c->special);
    *c = (token_config){0};
}

/* What is filled in, and with what. */
typedef struct maker {
    token_config *out;
    const bpe *words;
    arena *memory;
} maker;

/* Where a token is told of: for messages. */
typedef struct place {
    const char *path, *key;
} place;

static leco_status check_flags(place from, const json_t *value, const char *text, leco_error *err)
{
    static const char *const flags[] = {"lstrip", "rstrip", "single_word"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (json_is_true(json_object_get(value, flags[i])))
            return error_set(err, LECO_UNSUPPORTED, "%s: key \"%s\": %s is not supported for token \"%s\"", from.path,
                             from.key, flags[i], text);
    return LECO_OK;
}

/* The id of a text that is a token of the vocabulary or was added; -1: it isn't. */
static int32_t id_of(const maker *m, const char *text)
{
    for (size_t i = 0; i < m->out->special_count; i++)
        if (strcmp(m->out->special[i].text, text) == 0) return m->out->special[i].id;
    return bpe_id(m->words, text);
}

/* The id that a token beyond vocab.json is given must be nobody's. */
static leco_status check_new(const maker *m, place from, const char *text, int64_t id, leco_error *err)
{
    if (id < 0)
        return error_set(err, LECO_UNSUPPORTED,
                         "%s: key \"%s\": added token \"%s\" is not in vocab.json, and has no id", from.path, from.key,
                         text);
    if (id >= INT32_MAX)
        return error_set(err, LECO_FORMAT, "%s: key \"%s\": added token \"%s\" has the id %lld", from.path, from.key,
                         text, (long long)id);
    const char *other = bpe_text(m->words, (int32_t)id);
    for (size_t i = 0; i < m->out->special_count && !other; i++)
        if (m->out->special[i].id == id) other = m->out->special[i].text;
    if (other)
        return error_set(err, LECO_UNSUPPORTED, "%s: key \"%s\": added token \"%s\" has the id %lld, which is \"%s\"'s",
                         from.path, from.key, text, (long long)id, other);
    return LECO_OK;
}

/* A token of the vocabulary, or one beyond it, becomes special: transformers cuts it out of the text first of all.
 * `value` is what tells of it; `id` is negative where that doesn't say. */
static leco_status add_special(const maker *m, place from, const json_t *value, const char *text, int64_t id,
                               leco_error *err)
{
    const int32_t own = id_of(m, text);
    if (!text[0]) return LECO_OK;
    LECO_TRY(check_flags(from, value, text, err));
    if (own < 0) LECO_TRY(check_new(m, from, text, id, err));
    if (own >= 0 && id >= 0 && id != own)
        return error_set(
            err, LECO_UNSUPPORTED,
            "%s: key \"%s\": added token \"%s\" has the id %lld, but %d in vocab.json, which is not supported",
            from.path, from.key, text, (long long)id, own);
    for (size_t i = 0; i < m->out->special_count; i++)
        if (strcmp(m->out->special[i].text, text) == 0) return LECO_OK;
    const special_token one = {.text = text, .size = strlen(text), .id = own < 0 ? (int32_t)id : own, .count = 1};
    if ((size_t)one.id >= m->out->vocabulary) m->out->vocabulary = (size_t)one.id + 1;
    return token_config_add(m->out, m->memory, &one, err);
}

/* The token that the map, or else the config, has at a key; NULL where there is none. */
static const json_t *setting(const settings *s, const char *key, place *from)
{
    const json_t *value = json_object_get(s->map, key);
    *from = (place){s->map_path, key};
    if (content_of(value)) return value;
    value = json_object_get(s->config, key);
    *from = (place){s->path, key};
    return content_of(value) ? value : NULL;
}

/* The named token's id; it becomes special. */
static leco_status name_special(const maker *m, const settings *s, const char *key, const char *fallback, int32_t *id,
                                leco_error *err)
{
    place from;
    const json_t *value = setting(s, key, &from);
    const char *text = value ? content_of(value) : fallback;
    *id = id_of(m, text);
    if (*id < 0)
        return error_set(err, LECO_FORMAT,
                         "%s: key \"%s\": token \"%s\" is neither in vocab.json nor among the added ones", from.path,
                         key, text);
    return add_special(m, from, value, text, -1, err);
}

static leco_status add_given(const maker *m, place from, const json_t *value, int64_t id, leco_error *err)
{
    const char *text = content_of(value);
    if (!text)
        return error_set(err, LECO_FORMAT, "%s: key \"%s\": an added token without content", from.path, from.key);
    return add_special(m, from, value, text, id, err);
}

/* added_tokens_decoder: {"49406": {"content": ...}} */
static leco_status add_decoder(const maker *m, const settings *s, leco_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(s->config, "added_tokens_decoder"), key, value) {
        char *end;
        errno = 0;
        const long long id = strtoll(key, &end, 10);
        if (end == key || *end || errno || id < 0)
            return error_set(err, LECO_FORMAT, "%s: key \"added_tokens_decoder\": \"%s\" is not a token's id", s->path,
                             key);
        LECO_TRY(add_given(m, (place){s->path, key}, value, id, err));
    }
    return LECO_OK;
}

/* added_tokens.json: {"<token>": id} */
static leco_status add_file(const maker *m, const settings *s, leco_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(s->added, key, value) {
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return error_set(err, LECO_FORMAT, "%s: key \"%s\": expected a token's id", s->added_path, key);
        LECO_TRY(add_special(m, (place){s->added_path, key}, NULL, key, json_integer_value(value), err));
    }
    return LECO_OK;
}

/* A list of tokens, or an object with tokens by name. tokenizer.json's list has their ids. */
static leco_status add_list(const maker *m, place from, const json_t *list, leco_error *err)
{
    size_t index;
    const char *key;
    json_t *value;
    json_array_foreach(list, index, value) {
        const json_t *id = json_object_get(value, "id");
        LECO_TRY(add_given(m, from, value, json_is_integer(id) ? json_integer_value(id) : -1, err));
    }
    json_object_foreach((json_t *)(uintptr_t)list, key, value)
        LECO_TRY(add_given(m, (place){from.path, key}, value, -1, err));
    return LECO_OK;
}

/* Tokens that have names but no use here, and tokens without names. */
static leco_status add_others(const maker *m, const settings *s, leco_error *err)
{
    static const char *const names[] = {"sep_token", "cls_token", "mask_token"};
    static const char *const lists[] = {"additional_special_tokens", "extra_special_tokens"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        place from;
        const json_t *value = setting(s, names[i], &from);
        if (value) LECO_TRY(add_given(m, from, value, -1, err));
    }
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        LECO_TRY(add_list(m, (place){s->map_path, lists[i]}, json_object_get(s->map, lists[i]), err));
        LECO_TRY(add_list(m, (place){s->path, lists[i]}, json_object_get(s->config, lists[i]), err));
    }
    return LECO_OK;
}

static leco_status fill(const maker *m, const settings *s, leco_error *err)
{
    token_config *c = m->out;
    const json_t *length = json_object_get(s->config, "model_max_length");
    if (!length) length = json_object_get(s->config, "max_len");
    json_int_t value = json_is_integer(length) ? json_integer_value(length) : CLIP_LENGTH;
    if (value < 3 || value > MOST_LENGTH) value = CLIP_LENGTH;
    c->length = (size_t)value;
    c->vocabulary = bpe_id_count(m->words);
    LECO_TRY(add_decoder(m, s, err)); /* these three have ids, and the names below may be of tokens in them */
    LECO_TRY(add_file(m, s, err));
    LECO_TRY(add_list(m, (place){s->whole_path, "added_tokens"}, json_object_get(s->whole, "added_tokens"), err));
    LECO_TRY(name_special(m, s, "bos_token", START_TEXT, &c->start, err));
    LECO_TRY(name_special(m, s, "eos_token", END_TEXT, &c->end, err));
    LECO_TRY(name_special(m, s, "unk_token", END_TEXT, &c->unknown, err));
    LECO_TRY(name_special(m, s, "pad_token", END_TEXT, &c->pad, err));
    return add_others(m, s, err);
}

leco_status token_config_read(const char *folder, const bpe *words, arena *memory, token_config *out, leco_error *err)
{
    const maker m = {out, words, memory};
    settings s = {0};
    *out = (token_config){0};
    leco_status status = read_settings(folder, &s, err);
    if (status == LECO_OK) status = fill(&m, &s, err);
    free_settings(&s);
    return status;
}

leco_status token_config_clip(const bpe *words, const char *pad, arena *memory, token_config *out, leco_error *err)
{
    static const char *const texts[] = {START_TEXT, END_TEXT};
    *out = (token_config){.vocabulary = bpe_id_count(words), .length = CLIP_LENGTH};
    for (int i = 0; i < 2; i++) {
        const special_token one = {
            .text = texts[i], .size = strlen(texts[i]), .id = bpe_id(words, texts[i]), .count = 1};
        LECO_TRY(token_config_add(out, memory, &one, err));
    }
    out->start = bpe_id(words, START_TEXT);
    out->end = out->unknown = bpe_id(words, END_TEXT);
    out->pad = pad ? bpe_id(words, pad) : out->end;
    return LECO_OK;
}
