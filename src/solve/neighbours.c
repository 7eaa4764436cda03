#define _GNU_SOURCE /* strcasestr */
#include "solve/neighbours.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "model/wildcards.h"
#include "solve/contexts.h"
#include "train/modes.h"

enum { SEED = 1, MOST = OTHERS_MOST, LONGEST = 4, CONTEXTS = 32 };

/* A part of a text. */
typedef struct part {
    const char *text; /* where it begins; not ended */
    size_t length;
    const topic *of;
} part;

typedef struct searching {
    arena *memory; /* until all is found */
    const tokenizer *tokens;
    rng random;
    const char *concept[MOST]; /* that were found */
    const topic *of[MOST];
    size_t concepts;
    logging_others *out;
} searching;

/* ---- a text's concept ---- */

static leco_status expand(searching *s, const char *const *texts, const char **out, size_t count, leco_error *err)
{
    wildcards w = {.memory = s->memory};
    wildcard_text read[2];
    for (size_t i = 0; i < count; i++) LECO_TRY(wildcards_read(&w, texts[i], &read[i], err));
    wildcards_draw(&w, &s->random);
    for (size_t i = 0; i < count; i++) {
        char *text = arena_alloc(s->memory, strlen(texts[i]) + 1, 1);
        if (!text) return error_memory(err, strlen(texts[i]), "a prompt");
        wildcards_expand(&w, &read[i], text);
        out[i] = text;
    }
    return LECO_OK;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

/* Where the word that begins at `at` ends. */
static const char *word_end(const char *at)
{
    while (is_letter(*at) || *at == '-') at++;
    return at;
}

/* The next word's beginning behind `at`; NULL: none. */
static const char *next_word(const char *at)
{
    while (*at && !is_letter(*at)) at++;
    return *at ? at : NULL;
}

/* Is a word of a topic, or several, and not in `neutral`? */
static leco_status consider(const searching *s, const char *from, const char *end, const char *neutral, part *best,
                            leco_error *err)
{
    const char *word = arena_printf(s->memory, "%.*s", (int)(end - from), from);
    if (!word) return error_memory(err, (size_t)(end - from), "a word");
    const topic *of = topic_listing(word);
    const size_t length = (size_t)(end - from);
    if (of && length > best->length && !strcasestr(neutral, word) && word_is_known(s->tokens, word))
        *best = (part){from, length, of};
    return LECO_OK;
}

/* Up to LONGEST words one behind the other. */
static leco_status find_part(const searching *s, const char *text, const char *neutral, part *best, leco_error *err)
{
    *best = (part){0};
    for (const char *from = next_word(text); from; from = next_word(word_end(from))) {
        const char *last = from;
        for (int words = 0; words < LONGEST && last; words++) {
            const char *end = word_end(last);
            LECO_TRY(consider(s, from, end, neutral, best, err));
            last = *end == ' ' && is_letter(end[1]) ? end + 1 : NULL;
        }
    }
    return LECO_OK;
}

/* ---- texts ---- */

static bool is_concept(const searching *s, const char *text)
{
    for (size_t i = 0; i < s->concepts; i++)
        if (strcasestr(text, s->concept[i]) || strcasestr(s->concept[i], text)) return true;
    return false;
}

/* Another word of the topic than the concept, the index-th of those that are known, in the concept's place. */
static leco_status add_neighbour(searching *s, const char *text, const part *concept, size_t index, leco_error *err)
{
    const char **word;
    size_t count, others = 0;
    LECO_TRY(topic_words(concept->of, s->tokens, s->memory, &word, &count, err));
    for (size_t i = 0; i < count; i++)
        if (!is_concept(s, word[i])) word[others++] = word[i];
    if (others == 0 || s->out->neighbours == MOST) return LECO_OK;
    const char *made = mem_printf("%.*s%s%s", (int)(concept->text - text), text, word[index % others],
                                  concept->text + concept->length);
    if (!made) return error_memory(err, strlen(text), "a prompt");
    s->out->neighbour[s->out->neighbours++] = made;
    return LECO_OK;
}

/* A text that means many would be drawn anew: the braces of what was drawn mean themselves. */
static bool is_plain(const char *text)
{
    return !strpbrk(text, "{}\\");
}

static leco_status look_at(searching *s, const train_prompt *p, size_t index, leco_error *err)
{
    const char *const texts[] = {p->positive, p->neutral};
    const char *drawn[2];
    part concept;
    LECO_TRY(expand(s, texts, drawn, 2, err));
    if (!is_plain(drawn[0])) return LECO_OK;
    LECO_TRY(find_part(s, drawn[0], drawn[1], &concept, err));
    if (!concept.of) return LECO_OK;
    const char *word = arena_printf(s->memory, "%.*s", (int)concept.length, concept.text);
    if (!word) return error_memory(err, concept.length, "a word");
    if (s->concepts < MOST && !is_concept(s, word)) {
        s->concept[s->concepts] = word;
        s->of[s->concepts++] = concept.of;
    }
    return add_neighbour(s, drawn[0], &concept, index, err);
}

/* Of each topic that none of the concepts is of, a text with each of its first words. */
static leco_status add_unrelated(searching *s, const topic *about, leco_error *err)
{
    const char **word;
    size_t count;
    context_list at;
    LECO_TRY(topic_words(about, s->tokens, s->memory, &word, &count, err));
    LECO_TRY(contexts_of_topic(about, s->tokens, NULL, CONTEXTS, &s->random, s->memory, &at, err));
    for (size_t i = 0; i < at.count && count > 0 && s->out->unrelateds < MOST; i++) {
        const char *text = context_text(&at.item[i], word[i % count], s->memory);
        if (!text) return error_memory(err, 0, "a prompt");
        if (is_concept(s, text) || !is_plain(text)) continue;
        if (!(text = mem_strdup(text))) return error_memory(err, 0, "a prompt");
        s->out->unrelated[s->out->unrelateds++] = text;
    }
    return LECO_OK;
}

static leco_status search(searching *s, const train_config *c, leco_error *err)
{
    rng_seed(&s->random, RNG_CPU, SEED);
    /* In turns, so that each entry has one before any has a second. */
    for (size_t i = 0; i < MOST && c->prompt_count > 0; i++)
        LECO_TRY(look_at(s, &c->prompt[i % c->prompt_count], i / c->prompt_count + i % c->prompt_count, err));
    for (const topic *about = topics; about->name; about++) {
        bool taken = false;
        for (size_t i = 0; i < s->concepts; i++) taken = taken || s->of[i] == about;
        if (!taken) LECO_TRY(add_unrelated(s, about, err));
    }
    return LECO_OK;
}

leco_status neighbours_find(const train_config *c, const tokenizer *t, logging_others *out, leco_error *err)
{
    *out = (logging_others){0};
    if (!c->logging.effect || !t) return LECO_OK;
    searching s = {.memory = arena_create(), .tokens = t, .out = out};
    leco_status status = s.memory ? search(&s, c, err) : error_memory(err, 0, "near words");
    arena_destroy(s.memory);
    for (size_t i = 0; status == LECO_OK && i < out->neighbours; i++)
        log_message(LOG_DEBUG, "a neighbour: \"%s\"", out->neighbour[i]);
    for (size_t i = 0; status == LECO_OK && i < out->unrelateds; i++)
        log_message(LOG_DEBUG, "unrelated: \"%s\"", out->unrelated[i]);
    if (status != LECO_OK) neighbours_free(out);
    return status;
}

void neighbours_free(logging_others *n)
{
    for (size_t i = 0; i < n->neighbours; i++) mem_free((void *)(uintptr_t)n->neighbour[i]);
    for (size_t i = 0; i < n->unrelateds; i++) mem_free((void *)(uintptr_t)n->unrelated[i]);
    *n = (logging_others){0};
}
