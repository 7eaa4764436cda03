#define _GNU_SOURCE /* strcasestr */
#include "solve/vocabulary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "solve/contexts.h"

/* How many letters a word has at least; how soon behind a piece of one word comes that word; and of how many letters a
 * stem is at least. */
enum { FEWEST_LETTERS = 3, SOON = 4, STEM = 4 };

typedef struct candidate {
    int32_t id;
    double likeness;
} candidate;

typedef struct search {
    const tokenizer *tokens;
    const weight *table; /* [rows, width] */
    int64_t rows, width;
    float *row;             /* [width] that was read last */
    double *mean, *concept; /* [width] of all words; of the concept's tokens */
    candidate *found;       /* [rows] */
    size_t count;
} search;

/* ---- words ---- */

/* The length of the word in "word</w>"; 0: another kind of token. */
static size_t whole_word(const char *token)
{
    const size_t length = token ? strspn(token, "abcdefghijklmnopqrstuvwxyz") : 0;
    return length < FEWEST_LETTERS || strcmp(token + length, "</w>") != 0 ? 0 : length;
}

/* A vocabulary is made by joining what stands side by side most often. What is the end of one word only ("arge" of
 * "large") is as frequent as that, which is therefore made next. */
static bool is_piece(const search *s, int32_t id, size_t length)
{
    const char *token = tokenizer_token(s->tokens, id);
    for (int32_t next = id + 1; next <= id + SOON && next < s->rows; next++) {
        const char *other = tokenizer_token(s->tokens, next);
        const size_t longer = whole_word(other);
        if (longer > length && strcmp(other + longer - length, token) == 0) return true;
    }
    return false;
}

bool vocabulary_is_form(const char *word, const char *concept)
{
    const char *space = strrchr(concept, ' '), *last = space ? space + 1 : concept;
    const size_t whole = strlen(last), length = strlen(word), shorter = whole < length ? whole : length;
    size_t same = 0;
    if (strcasestr(concept, word)) return false;
    if (whole >= FEWEST_LETTERS && strncasecmp(word, last, whole) == 0) return true;
    while (same < shorter && strncasecmp(word, last, same + 1) == 0) same++;
    return same >= STEM && 8 * same >= 5 * shorter;
}

/* ---- rows ---- */

static void read_row(search *s, int64_t id)
{
    const size_t width = (size_t)s->width, bytes = width * dtype_size(s->table->type);
    dtype_convert(s->row, DTYPE_F32, (const char *)s->table->data + (size_t)id * bytes, s->table->type, width);
}

static void add_row(search *s, int64_t id, double *sum)
{
    read_row(s, id);
    for (int64_t i = 0; i < s->width; i++) sum[i] += (double)s->row[i];
}

static leco_status read_concept(search *s, const char *concept, arena *scratch, leco_error *err)
{
    placed_text word;
    size_t count = 0;
    LECO_TRY(text_place(concept, s->tokens, scratch, &word, err));
    for (size_t k = 1; k + 1 < word.needed; k++) {
        if (word.ids[k] < 0 || word.ids[k] >= s->rows) continue; /* an embedding's */
        add_row(s, word.ids[k], s->concept);
        count++;
    }
    for (int64_t i = 0; i < s->width; i++) s->concept[i] = s->concept[i] / (double)(count ? count : 1) - s->mean[i];
    return LECO_OK;
}

static void find_words(search *s)
{
    for (int32_t id = 0; id < s->rows; id++) {
        const size_t length = whole_word(tokenizer_token(s->tokens, id));
        if (length == 0 || is_piece(s, id, length)) continue;
        s->found[s->count++].id = id;
        add_row(s, id, s->mean);
    }
    for (int64_t i = 0; i < s->width; i++) s->mean[i] /= (double)(s->count ? s->count : 1);
}

static double cosine(const search *s)
{
    double ab = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < s->width; i++) {
        const double a = s->concept[i], b = (double)s->row[i] - s->mean[i];
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    return aa > 0 && bb > 0 && isfinite(ab) ? ab / sqrt(aa * bb) : 0; /* a table may hold anything */
}

static int by_likeness(const void *left, const void *right)
{
    const candidate *a = left, *b = right;
    if (a->likeness != b->likeness) return a->likeness > b->likeness ? -1 : 1;
    return a->id < b->id ? -1 : 1;
}

static leco_status open_table(search *s, const model *m, arena *scratch, leco_error *err)
{
    const int64_t known = (int64_t)tokenizer_vocabulary(m->tokenizer), width = m->text.hidden_size;
    weight *table;
    LECO_TRY(weights_get(m->weights[PART_TEXT_ENCODER], "text_model.embeddings.token_embedding.weight",
                         SHAPE(m->text.vocab_size, width), &table, err));
    *s = (search){.tokens = m->tokenizer,
                  .table = table,
                  .rows = known < m->text.vocab_size ? known : m->text.vocab_size,
                  .width = width,
                  .row = arena_alloc(scratch, (size_t)width, sizeof *s->row),
                  .mean = arena_alloc(scratch, (size_t)width, sizeof *s->mean),
                  .concept = arena_alloc(scratch, (size_t)width, sizeof *s->concept)};
    s->found = arena_alloc(scratch, (size_t)s->rows, sizeof *s->found);
    if (s->row && s->mean && s->concept && s->found) return LECO_OK;
    return error_memory(err, (size_t)s->rows * sizeof *s->found, "the vocabulary");
}

static leco_status find(const model *m, const char *concept, size_t most, arena *memory, arena *scratch,
                        const char ***out, size_t *count, leco_error *err)
{
    search s;
    LECO_TRY(open_table(&s, m, scratch, err));
    find_words(&s);
    LECO_TRY(read_concept(&s, concept, scratch, err));
    for (size_t i = 0; i < s.count; i++) {
        read_row(&s, s.found[i].id);
        s.found[i].likeness = cosine(&s);
    }
    qsort(s.found, s.count, sizeof *s.found, by_likeness);
    *count = s.count < most ? s.count : most;
    const char **word = *out = arena_alloc(memory, *count + 1, sizeof *word);
    if (!word) return error_memory(err, *count * sizeof *word, "near words");
    for (size_t i = 0; i < *count; i++) {
        const char *token = tokenizer_token(s.tokens, s.found[i].id);
        if (!(word[i] = arena_printf(memory, "%.*s", (int)whole_word(token), token)))
            return error_memory(err, 0, "near words");
    }
    return LECO_OK;
}

leco_status vocabulary_like(const model *m, const char *concept, size_t most, arena *memory, const char ***out,
                            size_t *count, leco_error *err)
{
    arena *scratch = arena_create();
    if (!scratch) return error_memory(err, 0, "the vocabulary");
    leco_status status = find(m, concept, most, memory, scratch, out, count, err);
    arena_destroy(scratch);
    return status;
}
