#include "model/tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/mem.h"
#include "model/bpe.h"
#include "model/config_json.h"
#include "model/text_clean.h"

#define MOST_TEXT 65536
#define CLIP_LENGTH 77
#define MOST_LENGTH 4096 /* a longer model_max_length is transformers' way of saying that there is none */
#define START_TEXT "<|startoftext|>"
#define END_TEXT "<|endoftext|>"

/* Words, as CLIP splits cleaned text. U+0345, a mark whose other case is the letter iota, belongs to no word: Python's
 * regex keeps it out of the last class because that holds for its other case, which PCRE2 does not. */
static const char pattern[] = "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|"
                              "[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}\\x{345}]+";

/* A token that is cut out of the raw text before anything else happens to it. */
typedef struct special {
    const char *text;
    size_t size;
    int32_t id;
} special;

#define MOST_SPECIALS 64

struct tokenizer {
    arena *memory;
    bpe *bpe;
    pcre2_code *code;
    special specials[MOST_SPECIALS];
    size_t special_count;
    size_t length; /* model_max_length */
    int32_t start, end, pad, unknown;
};

/* ---- configuration ---- */

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

/* Where a token is told of: for messages. */
typedef struct place {
    const char *path, *key;
} place;

/* A token of the vocabulary becomes special: transformers cuts it out of the text first of all. `value` is what tells
 * of it; `id` is negative where that doesn't say. */
static leco_status add_special(tokenizer *t, place from, const json_t *value, const char *text, int64_t id,
                               leco_error *err)
{
    static const char *const flags[] = {"lstrip", "rstrip", "single_word"};
    const int32_t own = bpe_id(t->bpe, text);
    if (!text[0]) return LECO_OK;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (json_is_true(json_object_get(value, flags[i])))
            return error_set(err, LECO_UNSUPPORTED, "%s: key \"%s\": %s is not supported for token \"%s\"", from.path,
                             from.key, flags[i], text);
    if (own < 0)
        return error_set(err, LECO_UNSUPPORTED,
                         "%s: key \"%s\": added token \"%s\" is not in vocab.json, which is not supported yet",
                         from.path, from.key, text);
    if (id >= 0 && id != own)
        return error_set(
            err, LECO_UNSUPPORTED,
            "%s: key \"%s\": added token \"%s\" has the id %lld, but %d in vocab.json, which is not supported",
            from.path, from.key, text, (long long)id, own);
    for (size_t i = 0; i < t->special_count; i++)
        if (strcmp(t->specials[i].text, text) == 0) return LECO_OK;
    if (t->special_count == MOST_SPECIALS)
        return error_set(err, LECO_UNSUPPORTED, "%s: more than %d added tokens", from.path, MOST_SPECIALS);
    const char *copy = arena_strdup(t->memory, text);
    if (!copy) return error_memory(err, strlen(text), "a tokenizer");
    t->specials[t->special_count++] = (special){copy, strlen(copy), own};
    return LECO_OK;
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
static leco_status name_special(tokenizer *t, const settings *s, const char *key, const char *fallback, int32_t *id,
                                leco_error *err)
{
    place from;
    const json_t *value = setting(s, key, &from);
    const char *text = value ? content_of(value) : fallback;
    *id = bpe_id(t->bpe, text);
    if (*id < 0)
        return error_set(err, LECO_FORMAT, "%s: key \"%s\": token \"%s\" is not in vocab.json", from.path, key, text);
    return add_special(t, from, value, text, -1, err);
}

static leco_status add_given(tokenizer *t, place from, const json_t *value, int64_t id, leco_error *err)
{
    const char *text = content_of(value);
    if (!text)
        return error_set(err, LECO_FORMAT, "%s: key \"%s\": an added token without content", from.path, from.key);
    return add_special(t, from, value, text, id, err);
}

/* added_tokens_decoder: {"49406": {"content": ...}} */
static leco_status add_decoder(tokenizer *t, const settings *s, leco_error *err)
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
        LECO_TRY(add_given(t, (place){s->path, key}, value, id, err));
    }
    return LECO_OK;
}

/* added_tokens.json: {"<token>": id} */
static leco_status add_file(tokenizer *t, const settings *s, leco_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(s->added, key, value) {
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return error_set(err, LECO_FORMAT, "%s: key \"%s\": expected a token's id", s->added_path, key);
        LECO_TRY(add_special(t, (place){s->added_path, key}, NULL, key, json_integer_value(value), err));
    }
    return LECO_OK;
}

/* A list of tokens, or an object with tokens by name. tokenizer.json's list has their ids. */
static leco_status add_list(tokenizer *t, place from, const json_t *list, leco_error *err)
{
    size_t index;
    const char *key;
    json_t *value;
    json_array_foreach(list, index, value) {
        const json_t *id = json_object_get(value, "id");
        LECO_TRY(add_given(t, from, value, json_is_integer(id) ? json_integer_value(id) : -1, err));
    }
    json_object_foreach((json_t *)(uintptr_t)list, key, value)
        LECO_TRY(add_given(t, (place){from.path, key}, value, -1, err));
    return LECO_OK;
}

/* Tokens that have names but no use here, and tokens without names. */
static leco_status add_others(tokenizer *t, const settings *s, leco_error *err)
{
    static const char *const names[] = {"sep_token", "cls_token", "mask_token"};
    static const char *const lists[] = {"additional_special_tokens", "extra_special_tokens"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        place from;
        const json_t *value = setting(s, names[i], &from);
        if (value) LECO_TRY(add_given(t, from, value, -1, err));
    }
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        LECO_TRY(add_list(t, (place){s->map_path, lists[i]}, json_object_get(s->map, lists[i]), err));
        LECO_TRY(add_list(t, (place){s->path, lists[i]}, json_object_get(s->config, lists[i]), err));
    }
    LECO_TRY(add_file(t, s, err));
    return add_list(t, (place){s->whole_path, "added_tokens"}, json_object_get(s->whole, "added_tokens"), err);
}

static leco_status configure(tokenizer *t, const settings *s, leco_error *err)
{
    const json_t *length = json_object_get(s->config, "model_max_length");
    if (!length) length = json_object_get(s->config, "max_len");
    json_int_t value = json_is_integer(length) ? json_integer_value(length) : CLIP_LENGTH;
    if (value < 3 || value > MOST_LENGTH) value = CLIP_LENGTH;
    t->length = (size_t)value;
    LECO_TRY(name_special(t, s, "bos_token", START_TEXT, &t->start, err));
    LECO_TRY(name_special(t, s, "eos_token", END_TEXT, &t->end, err));
    LECO_TRY(name_special(t, s, "unk_token", END_TEXT, &t->unknown, err));
    LECO_TRY(name_special(t, s, "pad_token", END_TEXT, &t->pad, err));
    LECO_TRY(add_decoder(t, s, err));
    return add_others(t, s, err);
}

/* ---- opening ---- */

/* transformers 5 saves tokenizer.json alone. */
static leco_status check_files(const char *folder, const char *vocab, leco_error *err)
{
    char *whole = file_join(folder, "tokenizer.json");
    if (!whole) return error_memory(err, strlen(folder), "a path");
    leco_status status = LECO_OK;
    if (!file_exists(vocab) && file_exists(whole))
        status =
            error_set(err, LECO_UNSUPPORTED,
                      "%s: a tokenizer in this file alone is not supported yet; put the vocab.json and merges.txt of "
                      "the model that this one was made from beside it, or have transformers 4 write them: "
                      "CLIPTokenizerFast.from_pretrained(\"%s\").save_vocabulary(\"%s\")",
                      whole, folder, folder);
    mem_free(whole);
    return status;
}

static leco_status open_bpe(tokenizer *t, const char *folder, leco_error *err)
{
    char *vocab = file_join(folder, "vocab.json"), *merges = file_join(folder, "merges.txt");
    leco_status status =
        vocab && merges ? check_files(folder, vocab, err) : error_memory(err, strlen(folder), "a path");
    if (status == LECO_OK) status = bpe_open(vocab, merges, &t->bpe, err);
    mem_free(vocab);
    mem_free(merges);
    return status;
}

static leco_status compile_pattern(tokenizer *t, leco_error *err)
{
    int number;
    size_t offset;
    char message[128];
    t->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP | PCRE2_CASELESS, &number,
                            &offset, NULL);
    if (t->code) return LECO_OK;
    pcre2_get_error_message(number, (PCRE2_UCHAR *)message, sizeof message);
    return error_set(err, LECO_INTERNAL, "PCRE2 does not take CLIP's pattern: %s", message);
}

leco_status tokenizer_open(const char *folder, tokenizer **out, leco_error *err)
{
    *out = NULL;
    settings s = {0};
    tokenizer *t = mem_calloc(1, sizeof *t);
    if (t) t->memory = arena_create();
    leco_status status = t && t->memory ? LECO_OK : error_memory(err, sizeof *t, "a tokenizer");
    if (status == LECO_OK) status = open_bpe(t, folder, err);
    if (status == LECO_OK) status = read_settings(folder, &s, err);
    if (status == LECO_OK) status = configure(t, &s, err);
    if (status == LECO_OK) status = compile_pattern(t, err);
    free_settings(&s);
    if (status != LECO_OK) {
        tokenizer_close(t);
        return status;
    }
    *out = t;
    return LECO_OK;
}

void tokenizer_close(tokenizer *t)
{
    if (!t) return;
    bpe_close(t->bpe);
    pcre2_code_free(t->code);
    arena_destroy(t->memory);
    mem_free(t);
}

size_t tokenizer_length(const tokenizer *t)
{
    return t->length;
}

size_t tokenizer_vocabulary(const tokenizer *t)
{
    return bpe_id_count(t->bpe);
}

int32_t tokenizer_start(const tokenizer *t)
{
    return t->start;
}

int32_t tokenizer_end(const tokenizer *t)
{
    return t->end;
}

int32_t tokenizer_pad(const tokenizer *t)
{
    return t->pad;
}

const char *tokenizer_token(const tokenizer *t, int32_t id)
{
    return bpe_text(t->bpe, id);
}

/* ---- encoding ---- */

/* The ids so far: those that fit are stored, all are counted. */
typedef struct sequence {
    const tokenizer *t;
    int32_t *ids; /* [t->length] */
    size_t count; /* with the start token, without the end token */
} sequence;

static void append(sequence *q, int32_t id)
{
    if (q->count < q->t->length - 1) q->ids[q->count] = id < 0 ? q->t->unknown : id;
    q->count++;
}

static leco_status encode_word(sequence *q, const char *word, size_t size, leco_error *err)
{
    /* A special token in other letters ("<|ENDOFTEXT|>") gets here, and is one after all. */
    static const char *const whole[] = {START_TEXT, END_TEXT};
    for (size_t i = 0; i < 2; i++) {
        if (size == strlen(whole[i]) && memcmp(word, whole[i], size) == 0) {
            append(q, bpe_id(q->t->bpe, whole[i]));
            return LECO_OK;
        }
    }
    int32_t *ids = mem_calloc(size, sizeof *ids);
    if (!ids) return error_memory(err, size * sizeof *ids, "a word");
    size_t count;
    leco_status status = bpe_encode(q->t->bpe, word, size, ids, &count, err);
    for (size_t i = 0; status == LECO_OK && i < count; i++) append(q, ids[i]);
    mem_free(ids);
    return status;
}

static leco_status encode_words(sequence *q, const char *text, size_t size, pcre2_match_data *match, leco_error *err)
{
    for (size_t at = 0; at < size;) {
        int found = pcre2_match(q->t->code, (PCRE2_SPTR)text, size, at, PCRE2_NO_UTF_CHECK, match, NULL);
        if (found == PCRE2_ERROR_NOMATCH) return LECO_OK;
        if (found < 0) return error_set(err, LECO_INTERNAL, "PCRE2 failed on the prompt: error %d", found);
        const size_t *range = pcre2_get_ovector_pointer(match);
        LECO_TRY(encode_word(q, text + range[0], range[1] - range[0], err));
        at = range[1];
    }
    return LECO_OK;
}

/* Ordinary text, without special tokens. */
static leco_status encode_piece(sequence *q, const char *text, size_t size, leco_error *err)
{
    char *clean;
    size_t clean_size;
    if (size == 0) return LECO_OK;
    LECO_TRY(text_clean(text, size, &clean, &clean_size, err));
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(q->t->code, NULL);
    leco_status status = match ? encode_words(q, clean, clean_size, match, err) : error_memory(err, 0, "a prompt");
    pcre2_match_data_free(match);
    mem_free(clean);
    return status;
}

/* The longest special token that stands at the beginning of text, or NULL. */
static const special *special_at(const tokenizer *t, const char *text, size_t size)
{
    const special *best = NULL;
    for (size_t i = 0; i < t->special_count; i++) {
        const special *s = &t->specials[i];
        if (s->size <= size && memcmp(s->text, text, s->size) == 0 && (!best || s->size > best->size)) best = s;
    }
    return best;
}

static leco_status encode_text(sequence *q, const char *text, size_t size, leco_error *err)
{
    size_t begin = 0, at = 0;
    while (at < size) {
        const special *s = special_at(q->t, text + at, size - at);
        if (!s) {
            at++;
            continue;
        }
        LECO_TRY(encode_piece(q, text + begin, at - begin, err));
        append(q, s->id);
        at += s->size;
        begin = at;
    }
    return encode_piece(q, text + begin, size - begin, err);
}

leco_status tokenizer_encode(const tokenizer *t, const char *text, size_t size, int32_t *ids, size_t *needed,
                             leco_error *err)
{
    if (size > MOST_TEXT)
        return error_set(err, LECO_INVALID, "the prompt is %zu bytes long, more than %d", size, MOST_TEXT);
    LECO_TRY(text_check_utf8(text, size, err));
    sequence q = {t, ids, 0};
    append(&q, t->start);
    LECO_TRY(encode_text(&q, text, size, err));
    if (needed) *needed = q.count + 1;
    size_t used = q.count < t->length - 1 ? q.count : t->length - 1;
    ids[used++] = t->end;
    while (used < t->length) ids[used++] = t->pad;
    return LECO_OK;
}
