#include "model/tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/bpe.h"
#include "model/text_clean.h"
#include "model/tokenizer_config.h"

#define MOST_TEXT 65536

/* Words, as CLIP splits cleaned text. U+0345, a mark whose other case is the letter iota, belongs to no word: Python's
 * regex keeps it out of the last class because that holds for its other case, which PCRE2 does not. */
static const char pattern[] = "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|"
                              "[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}\\x{345}]+";

struct tokenizer {
    arena *memory;
    bpe *bpe;
    pcre2_code *code;
    token_config config;
};

/* ---- opening ---- */

/* transformers 5 saves tokenizer.json alone. */
static leco_status open_bpe(tokenizer *t, const char *folder, leco_error *err)
{
    char *vocab = file_join(folder, "vocab.json"), *merges = file_join(folder, "merges.txt");
    char *whole = file_join(folder, "tokenizer.json");
    const bool there = vocab && merges && whole;
    const bool alone = there && !file_exists(vocab) && !file_exists(merges) && file_exists(whole);
    leco_status status = !there  ? error_memory(err, strlen(folder), "a path")
                         : alone ? bpe_open_json(whole, &t->bpe, err)
                                 : bpe_open(vocab, merges, &t->bpe, err);
    mem_free(vocab);
    mem_free(merges);
    mem_free(whole);
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

static leco_status create(tokenizer **out, leco_error *err)
{
    tokenizer *t = *out = mem_calloc(1, sizeof *t);
    if (t) t->memory = arena_create();
    if (!t || !t->memory) return error_memory(err, sizeof *t, "a tokenizer");
    return compile_pattern(t, err);
}

/* *t is gone where it failed. */
static leco_status finish(tokenizer **t, leco_status status)
{
    if (status == LECO_OK) return LECO_OK;
    tokenizer_close(*t);
    *t = NULL;
    return status;
}

leco_status tokenizer_open(const char *folder, tokenizer **out, leco_error *err)
{
    leco_status status = create(out, err);
    if (status == LECO_OK) status = open_bpe(*out, folder, err);
    if (status == LECO_OK) status = token_config_read(folder, (*out)->bpe, (*out)->memory, &(*out)->config, err);
    return finish(out, status);
}

leco_status tokenizer_open_clip(const char *pad, tokenizer **out, leco_error *err)
{
    leco_status status = create(out, err);
    if (status == LECO_OK) status = bpe_open_clip(&(*out)->bpe, err);
    if (status == LECO_OK) status = token_config_clip((*out)->bpe, pad, (*out)->memory, &(*out)->config, err);
    return finish(out, status);
}

void tokenizer_close(tokenizer *t)
{
    if (!t) return;
    bpe_close(t->bpe);
    pcre2_code_free(t->code);
    token_config_free(&t->config);
    arena_destroy(t->memory);
    mem_free(t);
}

size_t tokenizer_length(const tokenizer *t)
{
    return t->config.length;
}

size_t tokenizer_vocabulary(const tokenizer *t)
{
    return t->config.vocabulary;
}

int32_t tokenizer_start(const tokenizer *t)
{
    return t->config.start;
}

int32_t tokenizer_end(const tokenizer *t)
{
    return t->config.end;
}

int32_t tokenizer_pad(const tokenizer *t)
{
    return t->config.pad;
}

const char *tokenizer_token(const tokenizer *t, int32_t id)
{
    const char *text = bpe_text(t->bpe, id);
    for (size_t i = 0; i < t->config.special_count && !text; i++)
        if (id >= t->config.special[i].id && id - t->config.special[i].id < t->config.special[i].count)
            text = t->config.special[i].text;
    return text;
}

/* ---- encoding ---- */

/* The ids so far: those that fit are stored, all are counted. */
typedef struct sequence {
    const tokenizer *t;
    int32_t *ids; /* [t->config.length] */
    size_t count; /* with the start token, without the end token */
} sequence;

static void append(sequence *q, int32_t id)
{
    if (q->count < q->t->config.length - 1) q->ids[q->count] = id < 0 ? q->t->config.unknown : id;
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

static bool is_word(const char *text, size_t size, size_t at)
{
    const unsigned char c = at < size ? (unsigned char)text[at] : ' ';
    return c >= 0x80 || c == '_' || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

static bool same_letters(const char *a, const char *b, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        const unsigned char x = (unsigned char)a[i], y = (unsigned char)b[i];
        const bool letters = x < 0x80 && (x | 0x20) >= 'a' && (x | 0x20) <= 'z';
        if (x != y && !(letters && (x ^ y) == 0x20)) return false;
    }
    return true;
}

/* How much of the text at `at` is the token; 0: none. A prompt may name an embedding as ComfyUI has it, too. */
static size_t match(const special_token *s, const char *text, size_t size, size_t at)
{
    static const char comfy[] = "embedding:";
    const size_t prefix = sizeof comfy - 1, rest = size - at;
    if (!s->named) return s->size <= rest && memcmp(s->text, text + at, s->size) == 0 ? s->size : 0;
    const bool led = rest > prefix && same_letters(comfy, text + at, prefix);
    const size_t from = led ? at + prefix : at, end = from + s->size;
    if (end > size || !same_letters(s->text, text + from, s->size)) return 0;
    if (is_word(text, size, from) && at > 0 && is_word(text, size, at - 1)) return 0;
    if (is_word(text, size, end - 1) && is_word(text, size, end)) return 0;
    return end - at;
}

/* The special token that takes up the most of the text from `at` on; NULL where none stands there. */
static const special_token *special_at(const tokenizer *t, const char *text, size_t size, size_t at, size_t *length)
{
    const special_token *best = NULL;
    *length = 0;
    for (size_t i = 0; i < t->config.special_count; i++) {
        const size_t found = match(&t->config.special[i], text, size, at);
        if (found <= *length) continue;
        best = &t->config.special[i];
        *length = found;
    }
    return best;
}

static leco_status encode_text(sequence *q, const char *text, size_t size, leco_error *err)
{
    size_t begin = 0, at = 0, length;
    while (at < size) {
        const special_token *s = special_at(q->t, text, size, at, &length);
        if (!s) {
            at++;
            continue;
        }
        LECO_TRY(encode_piece(q, text + begin, at - begin, err));
        for (int32_t i = 0; i < s->count; i++) append(q, s->id + i);
        at += length;
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
    append(&q, t->config.start);
    LECO_TRY(encode_text(&q, text, size, err));
    if (needed) *needed = q.count + 1;
    size_t used = q.count < t->config.length - 1 ? q.count : t->config.length - 1;
    ids[used++] = t->config.end;
    while (used < t->config.length) ids[used++] = t->config.pad;
    return LECO_OK;
}

/* ---- adding ---- */

/* Is the text one token already? */
static leco_status is_known(const tokenizer *t, const char *text, bool *known, leco_error *err)
{
    const size_t size = strlen(text);
    char *small = mem_printf("%s</w>", text);
    if (!small) return error_memory(err, size, "a token");
    for (char *c = small; *c; c++)
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c + 0x20);
    *known = bpe_id(t->bpe, small) >= 0;
    small[size] = '\0';
    *known = *known || bpe_id(t->bpe, small) >= 0;
    mem_free(small);
    for (size_t i = 0; i < t->config.special_count; i++) {
        const special_token *s = &t->config.special[i];
        *known = *known || (s->size == size && same_letters(s->text, text, size));
    }
    return LECO_OK;
}

leco_status tokenizer_add(tokenizer *t, const char *text, int32_t first, int32_t count, leco_error *err)
{
    const size_t size = strlen(text);
    LECO_TRY(text_check_utf8(text, size, err));
    if (size == 0 || size > 256 || text[0] == ' ' || text[size - 1] == ' ')
        return error_set(err, LECO_INVALID,
                         "\"%.80s\" can't be a token: expected 1 to 256 bytes without spaces at the ends", text);
    bool known = false;
    LECO_TRY(is_known(t, text, &known, err));
    if (known)
        return error_set(err, LECO_INVALID, "\"%.80s\" is a token of %s already; choose a word that isn't one", text,
                         tokenizer_names(t, text) ? "another embedding" : "the model");
    return token_config_add(&t->config, t->memory,
                            &(special_token){.text = text, .size = size, .id = first, .count = count, .named = true},
                            err);
}

bool tokenizer_names(const tokenizer *t, const char *text)
{
    size_t length;
    const special_token *s = special_at(t, text, strlen(text), 0, &length);
    return s && s->named;
}

leco_status tokenizer_holds(const tokenizer *t, const char *text, const char *word, bool *holds, leco_error *err)
{
    const special_token *s = NULL;
    *holds = false;
    for (size_t i = 0; i < t->config.special_count && !s; i++)
        if (strcmp(t->config.special[i].text, word) == 0) s = &t->config.special[i];
    if (!s) return LECO_OK;
    int32_t *ids = mem_calloc(t->config.length, sizeof *ids);
    if (!ids) return error_memory(err, t->config.length * sizeof *ids, "token ids");
    leco_status status = tokenizer_encode(t, text, strlen(text), ids, NULL, err);
    for (size_t i = 0; status == LECO_OK && i < t->config.length; i++)
        *holds = *holds || (ids[i] >= s->id && ids[i] - s->id < s->count);
    mem_free(ids);
    return status;
}

bool tokenizer_same_words(const tokenizer *a, const tokenizer *b)
{
    const size_t count = tokenizer_vocabulary(a);
    bool same = tokenizer_vocabulary(b) == count;
    for (size_t id = 0; id < count && same && a != b; id++) {
        const char *one = tokenizer_token(a, (int32_t)id), *other = tokenizer_token(b, (int32_t)id);
        same = !one == !other && (!one || strcmp(one, other) == 0);
    }
    return same;
}
