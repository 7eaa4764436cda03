#include "model/tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/mem.h"
#include "format/json.h"
#include "model/bpe.h"
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

/* What the two JSON files say. */
typedef struct settings {
    char *path; /* of tokenizer_config.json */
    json_t *config, *map;
    bool has_decoder; /* the config lists its added tokens: then special_tokens_map.json doesn't count */
} settings;

static leco_status read_optional(const char *folder, const char *name, char **path, json_t **out, leco_error *err)
{
    *path = file_join(folder, name);
    if (!*path) return error_memory(err, strlen(folder), "a path");
    if (!file_exists(*path)) return LECO_OK;
    LECO_TRY(json_read_file(*path, out, err));
    if (!json_is_object(*out)) return error_set(err, LECO_FORMAT, "%s: expected a JSON object", *path);
    return LECO_OK;
}

static leco_status read_settings(const char *folder, settings *s, leco_error *err)
{
    char *map_path = NULL;
    LECO_TRY(read_optional(folder, "tokenizer_config.json", &s->path, &s->config, err));
    leco_status status = read_optional(folder, "special_tokens_map.json", &map_path, &s->map, err);
    mem_free(map_path);
    s->has_decoder = json_is_object(json_object_get(s->config, "added_tokens_decoder"));
    return status;
}

static void free_settings(settings *s)
{
    json_decref(s->config);
    json_decref(s->map);
    mem_free(s->path);
}

/* A token is given as a string or as an object with its content. */
static const char *content_of(const json_t *value)
{
    if (json_is_object(value)) value = json_object_get(value, "content");
    return json_is_string(value) ? json_string_value(value) : NULL;
}

static const char *setting(const settings *s, const char *key, const char *fallback)
{
    const char *text = s->has_decoder ? NULL : content_of(json_object_get(s->map, key));
    if (!text) text = content_of(json_object_get(s->config, key));
    return text ? text : fallback;
}

static leco_status add_special(tokenizer *t, const settings *s, const char *text, int32_t id, leco_error *err)
{
    for (size_t i = 0; i < t->special_count; i++)
        if (strcmp(t->specials[i].text, text) == 0) return LECO_OK;
    if (t->special_count == MOST_SPECIALS)
        return error_set(err, LECO_UNSUPPORTED, "%s: more than %d added tokens", s->path, MOST_SPECIALS);
    const char *copy = arena_strdup(t->memory, text);
    if (!copy) return error_memory(err, strlen(text), "a tokenizer");
    if (*copy) t->specials[t->special_count++] = (special){copy, strlen(copy), id};
    return LECO_OK;
}

/* The named token's id; it becomes special. */
static leco_status name_special(tokenizer *t, const settings *s, const char *key, const char *fallback, int32_t *id,
                                leco_error *err)
{
    const char *text = setting(s, key, fallback);
    *id = bpe_id(t->bpe, text);
    if (*id < 0)
        return error_set(err, LECO_FORMAT, "%s: key \"%s\": token \"%s\" is not in vocab.json", s->path, key, text);
    return add_special(t, s, text, *id, err);
}

/* added_tokens_decoder: {"49406": {"content": ...}} */
static leco_status add_listed(tokenizer *t, const settings *s, leco_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(s->config, "added_tokens_decoder"), key, value) {
        const char *text = content_of(value);
        if (!text) return error_set(err, LECO_FORMAT, "%s: key \"%s\": an added token without content", s->path, key);
        if (bpe_id(t->bpe, text) < 0)
            return error_set(err, LECO_UNSUPPORTED,
                             "%s: key \"%s\": added token \"%s\" is not in vocab.json, which is not supported yet",
                             s->path, key, text);
        if (json_is_true(json_object_get(value, "lstrip")) || json_is_true(json_object_get(value, "rstrip")) ||
            json_is_true(json_object_get(value, "single_word")))
            return error_set(err, LECO_UNSUPPORTED,
                             "%s: key \"%s\": lstrip, rstrip and single_word are not supported for token \"%s\"",
                             s->path, key, text);
        LECO_TRY(add_special(t, s, text, bpe_id(t->bpe, text), err));
    }
    return LECO_OK;
}

static leco_status configure(tokenizer *t, const settings *s, leco_error *err)
{
    const json_t *length = json_object_get(s->config, "model_max_length");
    json_int_t value = json_is_integer(length) ? json_integer_value(length) : CLIP_LENGTH;
    if (value < 3 || value > MOST_LENGTH) value = CLIP_LENGTH;
    t->length = (size_t)value;
    LECO_TRY(name_special(t, s, "bos_token", START_TEXT, &t->start, err));
    LECO_TRY(name_special(t, s, "eos_token", END_TEXT, &t->end, err));
    LECO_TRY(name_special(t, s, "unk_token", END_TEXT, &t->unknown, err));
    LECO_TRY(name_special(t, s, "pad_token", END_TEXT, &t->pad, err));
    return add_listed(t, s, err);
}

/* ---- opening ---- */

static leco_status open_bpe(tokenizer *t, const char *folder, leco_error *err)
{
    char *vocab = file_join(folder, "vocab.json"), *merges = file_join(folder, "merges.txt");
    leco_status status =
        vocab && merges ? bpe_open(vocab, merges, &t->bpe, err) : error_memory(err, strlen(folder), "a path");
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
