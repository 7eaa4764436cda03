#define _GNU_SOURCE /* strcasestr */
#include "solve/near.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "solve/compound.h"
#include "solve/dense.h"
#include "solve/vocabulary.h"

/* Contexts in which words are compared, and how many states behind the longest text; of how many words of the
 * vocabulary it is asked what the model does with them, and how many of these, and of the concept's forms, are compared
 * like the words of lists; below which part of the median distance a word says the same, and above which one of the
 * vocabulary, of which nobody knows what it means, is far enough to say something else. */
enum { COMPARED = 2, BEHIND = 4, FROM_TABLE = 256, FROM_VOCABULARY = 12, FORMS = 4 };
#define SAME 0.25
#define APART 0.5

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
    out->item = arena_alloc(memory, count + FROM_VOCABULARY + FORMS, sizeof *out->item);
    if (!out->item) return error_memory(err, count * sizeof *out->item, "near words");
    out->count = 0;
    out->topic = about;
    out->known = count;
    for (size_t i = 0; i < count; i++)
        if (!avoided(s, word[i])) out->item[out->count++] = (near_word){.word = word[i], .of_topic = true};
    return LECO_OK;
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

/* Of a list's words, which say what is far and what is near; where there are none, of all. They are sorted. */
static double median_of(const near_words *words)
{
    size_t listed_words = 0, seen = 0;
    for (size_t i = 0; i < words->count; i++) listed_words += words->item[i].of_topic;
    if (listed_words == 0) return words->count ? words->item[words->count / 2].distance : 0;
    for (size_t i = 0;; i++)
        if (words->item[i].of_topic && seen++ == listed_words / 2) return words->item[i].distance;
}

/* Roots of means, relative to the median. */
static void finish(near_words *words)
{
    for (size_t i = 0; i < words->count; i++) words->item[i].distance = sqrt(words->item[i].distance / COMPARED);
    qsort(words->item, words->count, sizeof *words->item, by_distance);
    const double median = median_of(words);
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

/* ---- the vocabulary ---- */

/* Is it among all concepts, or does it hold one of these without being a form of it, or the other way round? */
static bool passed_over(const near_search *s, const char *word, bool form)
{
    for (size_t i = 0; i < s->avoided; i++)
        if (strcasecmp(s->avoid[i], word) == 0) return true;
    return !form && avoided(s, word);
}

/* Those of the vocabulary that the token table holds for likely, the nearest in a text of nothing else first. */
static leco_status candidates(const near_search *s, const char *concept, const near_words *beside, arena *scratch,
                              near_words *out, leco_error *err)
{
    const char **word;
    size_t count;
    *out = (near_words){0};
    LECO_TRY(vocabulary_like(s->model, concept, FROM_TABLE, scratch, &word, &count, err));
    out->item = arena_alloc(scratch, count + 1, sizeof *out->item);
    if (!out->item) return error_memory(err, count * sizeof *out->item, "near words");
    for (size_t i = 0; i < count; i++) {
        const bool form = vocabulary_is_form(word[i], concept);
        if (!passed_over(s, word[i], form) && !listed(beside, word[i]))
            out->item[out->count++] = (near_word){.word = word[i], .form = form};
    }
    LECO_TRY(compare_in(s, &(context){.before = "", .after = ""}, concept, out, scratch, err));
    qsort(out->item, out->count, sizeof *out->item, by_distance);
    return LECO_OK;
}

static leco_status add_vocabulary(const near_search *s, const char *concept, arena *memory, near_words *out,
                                  leco_error *err)
{
    arena *scratch = arena_create();
    if (!scratch) return error_memory(err, 0, "the vocabulary");
    near_words found;
    size_t added = 0, forms = 0;
    leco_status status = candidates(s, concept, out, scratch, &found, err);
    for (size_t i = 0; status == LECO_OK && i < found.count; i++) {
        const bool form = found.item[i].form;
        if (form ? forms == FORMS : added == FROM_VOCABULARY) continue;
        *(form ? &forms : &added) += 1;
        const char *word = arena_strdup(memory, found.item[i].word);
        if (word)
            out->item[out->count++] = (near_word){.word = word, .form = form};
        else
            status = error_memory(err, 0, "near words");
    }
    arena_destroy(scratch);
    return status;
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
    out->guessed = !known && word_is_known(s->model->tokenizer, concept) && !topic_is_names(about);
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

/* A word of the vocabulary may be a form, a synonym or a misspelling of the concept, or a piece of words that the model
 * has never read: only where no list has the concept is one taken, and only one that is neither near enough to be the
 * former nor further than a list's. */
static bool may_replace(const near_words *near, const near_word *w)
{
    if (w->same || w->form) return false;
    return w->of_topic || near->known == 0 || (near->guessed && w->distance >= APART);
}

const char *near_other(const near_words *near)
{
    for (size_t i = 0; i < near->count; i++)
        if (may_replace(near, &near->item[i])) return near->item[i].word;
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
