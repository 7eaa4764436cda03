#define _GNU_SOURCE /* strcasestr */
#include "solve/near.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "solve/compound.h"
#include "solve/dense.h"

/* Contexts in which words are compared; how many states behind the longest text; how many of the vocabulary are looked
 * at; and below which part of the median distance a word says the same. */
enum { COMPARED = 2, BEHIND = 4, FROM_VOCABULARY = 12 };
#define SAME 0.25

/* ---- the vocabulary ---- */

typedef struct candidate {
    int32_t id;
    double likeness;
} candidate;

static int by_likeness(const void *left, const void *right)
{
    const candidate *a = left, *b = right;
    if (a->likeness != b->likeness) return a->likeness > b->likeness ? -1 : 1;
    return a->id < b->id ? -1 : 1;
}

/* The length of the word in "word</w>", of three letters or more; 0: another kind of token. */
static size_t whole_word(const char *token)
{
    const size_t length = token ? strspn(token, "abcdefghijklmnopqrstuvwxyz") : 0;
    return length < 3 || strcmp(token + length, "</w>") != 0 ? 0 : length;
}

static void read_row(const weight *table, int32_t id, int64_t width, float *out)
{
    const size_t bytes = (size_t)width * dtype_size(table->type);
    dtype_convert(out, DTYPE_F32, (const char *)table->data + (size_t)id * bytes, table->type, (size_t)width);
}

static double cosine(const float *a, const float *b, int64_t width)
{
    double ab = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < width; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

/* The tokens whose embeddings are most like the mean of the concept's. */
static leco_status search_vocabulary(const near_search *s, const char *concept, arena *scratch, candidate **out,
                                     size_t *count, leco_error *err)
{
    const tokenizer *t = s->model->tokenizer;
    const int64_t width = s->model->text.hidden_size;
    const int64_t rows = (int64_t)tokenizer_vocabulary(t) < s->model->text.vocab_size ? (int64_t)tokenizer_vocabulary(t)
                                                                                      : s->model->text.vocab_size;
    placed_text word;
    weight *table;
    float *row = arena_alloc(scratch, (size_t)width, sizeof *row),
          *mean = arena_alloc(scratch, (size_t)width, sizeof *mean);
    *out = arena_alloc(scratch, (size_t)rows, sizeof **out);
    if (!row || !mean || !*out) return error_memory(err, (size_t)rows * sizeof **out, "the vocabulary");
    LECO_TRY(text_place(concept, t, scratch, &word, err));
    LECO_TRY(weights_get(s->model->weights[PART_TEXT_ENCODER], "text_model.embeddings.token_embedding.weight",
                         SHAPE(s->model->text.vocab_size, width), &table, err));
    for (size_t k = 1; k + 1 < word.needed; k++) {
        if (word.ids[k] >= rows) continue; /* an embedding's */
        read_row(table, word.ids[k], width, row);
        for (int64_t i = 0; i < width; i++) mean[i] += row[i];
    }
    *count = 0;
    for (int32_t id = 0; id < rows; id++) {
        if (!whole_word(tokenizer_token(t, id))) continue;
        read_row(table, id, width, row);
        (*out)[(*count)++] = (candidate){id, cosine(mean, row, width)};
    }
    qsort(*out, *count, sizeof **out, by_likeness);
    return LECO_OK;
}

/* ---- lists ---- */

static bool listed(const near_words *words, const char *word)
{
    for (size_t i = 0; i < words->count; i++)
        if (strcmp(words->item[i].word, word) == 0) return true;
    return false;
}

/* Is `word` a concept, or one of the two in the other, as "van gogh" is in "vincent van gogh"? */
static bool avoided(const near_search *s, const char *word)
{
    for (size_t i = 0; i < s->avoided; i++)
        if (strcasestr(s->avoid[i], word) || strcasestr(word, s->avoid[i])) return true;
    return false;
}

static leco_status add_topic(const near_search *s, const topic *about, arena *memory, near_words *out, leco_error *err)
{
    const char **word;
    size_t count;
    LECO_TRY(topic_words(about, s->model->tokenizer, memory, &word, &count, err));
    out->item = arena_alloc(memory, count + FROM_VOCABULARY, sizeof *out->item);
    if (!out->item) return error_memory(err, count * sizeof *out->item, "near words");
    out->count = 0;
    out->topic = about;
    out->known = count;
    for (size_t i = 0; i < count; i++)
        if (!avoided(s, word[i])) out->item[out->count++] = (near_word){.word = word[i], .of_topic = true};
    return LECO_OK;
}

static leco_status add_vocabulary(const near_search *s, const char *concept, arena *memory, near_words *out,
                                  leco_error *err)
{
    arena *scratch = arena_create();
    if (!scratch) return error_memory(err, 0, "the vocabulary");
    candidate *found;
    size_t count = 0, added = 0;
    leco_status status = search_vocabulary(s, concept, scratch, &found, &count, err);
    for (size_t i = 0; status == LECO_OK && i < count && added < FROM_VOCABULARY; i++) {
        const char *token = tokenizer_token(s->model->tokenizer, found[i].id);
        const char *word = arena_printf(memory, "%.*s", (int)whole_word(token), token);
        if (!word) status = error_memory(err, 0, "near words");
        if (!word || avoided(s, word) || listed(out, word)) continue;
        out->item[out->count++] = (near_word){.word = word};
        added++;
    }
    arena_destroy(scratch);
    return status;
}

/* ---- distances ---- */

/* The mean square of the keys and values of g - c, by the sketch. */
static leco_status square_of(const near_search *s, const state_pairs *p, double *out, leco_error *err)
{
    arena *scratch = arena_create();
    const int64_t width = s->readers->width, count = (int64_t)p->count;
    double *x = scratch ? dense_new(scratch, width, count, err) : NULL;
    double *y = x ? dense_new(scratch, READERS_SKETCH, count, err) : NULL;
    if (y) {
        for (int64_t i = 0; i < width * count; i++) x[i] = (double)p->g[i] - (double)p->c[i];
        dense_product(s->sketch, x, READERS_SKETCH, width, count, y);
        double sum = 0;
        for (int64_t i = 0; i < READERS_SKETCH * count; i++) sum += y[i] * y[i];
        *out += sum / (double)count;
    }
    arena_destroy(scratch);
    return y ? LECO_OK : error_memory(err, (size_t)(width * count) * sizeof *x, "text states");
}

/* Encodes the concept, and behind it all words, in one context. */
static leco_status encode_in(const near_search *s, const context *at, const char *concept, const near_words *words,
                             arena *scratch, encoded_text **out, size_t *tokens, leco_error *err)
{
    const tokenizer *t = s->model->tokenizer;
    const size_t count = words->count + 1;
    encoded_text *text = *out = arena_alloc(scratch, count, sizeof *text);
    if (!text) return error_memory(err, count * sizeof *text, "texts");
    *tokens = 0;
    for (size_t i = 0; i < count; i++) {
        LECO_TRY(context_place(at, i ? words->item[i - 1].word : concept, t, scratch, &text[i].place, err));
        if (text[i].place.needed + BEHIND > *tokens) *tokens = text[i].place.needed + BEHIND;
    }
    if (*tokens > tokenizer_length(t)) *tokens = tokenizer_length(t);
    text_states *states;
    LECO_TRY(text_states_create(s->device, s->model, (int64_t)*tokens, &states, err));
    leco_status status = encode_texts(states, text, count, scratch, err);
    text_states_destroy(states);
    return status;
}

/* Adds to each word's distance its square from the concept, in one context. */
static leco_status compare_in(const near_search *s, const context *at, const char *concept, near_words *words,
                              arena *scratch, leco_error *err)
{
    const size_t width = (size_t)s->readers->width;
    encoded_text *text;
    size_t tokens = 0;
    LECO_TRY(encode_in(s, at, concept, words, scratch, &text, &tokens, err));
    for (size_t i = 1; i <= words->count; i++) {
        state_pairs pairs;
        LECO_TRY(pair_states(&text[0], &text[i], tokens, width, tokens, scratch, &pairs, err));
        LECO_TRY(square_of(s, &pairs, &words->item[i - 1].distance, err));
    }
    return LECO_OK;
}

static int by_distance(const void *left, const void *right)
{
    const near_word *a = left, *b = right;
    if (a->distance != b->distance) return a->distance < b->distance ? -1 : 1;
    return strcmp(a->word, b->word);
}

/* Roots of means, relative to the median. */
static void finish(near_words *words)
{
    for (size_t i = 0; i < words->count; i++) words->item[i].distance = sqrt(words->item[i].distance / COMPARED);
    qsort(words->item, words->count, sizeof *words->item, by_distance);
    const double median = words->count ? words->item[words->count / 2].distance : 0;
    for (size_t i = 0; i < words->count; i++) {
        near_word *w = &words->item[i];
        if (median > 0) w->distance /= median;
        w->same = w->distance < SAME;
    }
}

static leco_status compare(const near_search *s, const char *concept, near_words *words, arena *scratch,
                           leco_error *err)
{
    rng random;
    context_list at;
    rng_seed(&random, RNG_CPU, 1);
    LECO_TRY(contexts_of_topic(words->topic, s->model->tokenizer, NULL, COMPARED, &random, scratch, &at, err));
    for (size_t i = 0; i < at.count; i++) LECO_TRY(compare_in(s, &at.item[i], concept, words, scratch, err));
    finish(words);
    return LECO_OK;
}

/* ---- topics ---- */

/* Of a concept that no topic lists: the one whose nearest word is nearest in plain texts. */
static leco_status guess_topic(const near_search *s, const char *concept, arena *scratch, const topic **out,
                               leco_error *err)
{
    double least = INFINITY;
    *out = &topics[1]; /* object: where nothing is known */
    for (const topic *about = topics; about->name; about++) {
        near_words words;
        LECO_TRY(add_topic(s, about, scratch, &words, err));
        if (words.count == 0) continue;
        LECO_TRY(compare_in(s, &(context){.before = "", .after = ""}, concept, &words, scratch, err));
        for (size_t i = 0; i < words.count; i++) {
            if (words.item[i].distance >= least) continue;
            least = words.item[i].distance;
            *out = about;
        }
    }
    return LECO_OK;
}

static leco_status find(const near_search *s, const char *concept, arena *memory, arena *scratch, near_words *out,
                        leco_error *err)
{
    const topic *about = topic_listing(concept);
    if (!about) LECO_TRY(compound_topic(concept, s->model->tokenizer, memory, &about, err));
    const bool known = about != NULL;
    if (!about) LECO_TRY(guess_topic(s, concept, scratch, &about, err));
    LECO_TRY(add_topic(s, about, memory, out, err));
    LECO_TRY(add_vocabulary(s, concept, memory, out, err));
    LECO_TRY(compare(s, concept, out, scratch, err));
    /* Words that are listed side by side don't say the same, however near: "flat" and "dotted" of a model to which they
     * nearly do, or "orange star" and "gold star" for the star's sake. */
    for (size_t i = 0; i < out->count && known; i++) out->item[i].same = out->item[i].same && !out->item[i].of_topic;
    return LECO_OK;
}

leco_status near_find(const near_search *s, const char *concept, arena *memory, near_words *out, leco_error *err)
{
    arena *scratch = arena_create();
    if (!scratch) return error_memory(err, 0, "near words");
    leco_status status = find(s, concept, memory, scratch, out, err);
    arena_destroy(scratch);
    return status;
}

/* ---- what may come in its place ---- */

const char *near_other(const near_words *near)
{
    for (size_t i = 0; i < near->count; i++)
        if (!near->item[i].same && (near->item[i].of_topic || near->known == 0)) return near->item[i].word;
    return NULL;
}

size_t near_others(const near_words *near, const char *concept, bool leading, const char **out)
{
    const char *space = strrchr(concept, ' ');
    const size_t lead = space ? (size_t)(space - concept) + 1 : 0;
    size_t count = 0;
    for (size_t i = 0; i < near->count; i++) {
        const near_word *w = &near->item[i];
        const bool shares = lead > 0 && strncasecmp(w->word, concept, lead) == 0;
        if (w->of_topic && !w->same && (shares || !leading)) out[count++] = w->word;
    }
    return count;
}
