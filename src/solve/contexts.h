/* Texts with a place for a concept in them, "a large {} star", and what a tokenizer makes of them. */
#ifndef LECO_SOLVE_CONTEXTS_H
#define LECO_SOLVE_CONTEXTS_H

#include "base/arena.h"
#include "base/rng.h"
#include "model/tokenizer.h"
#include "solve/topics.h"

typedef struct context {
    const char *before, *after; /* of the place: "a large " and " star" */
    size_t drawn_from;          /* number of the template */
} context;

typedef struct context_list {
    context *item; /* texts and list are the arena's that they were made in */
    size_t count;
} context_list;

/* Draws up to `wanted` different contexts from `templates` [count], which have {} once and may have wildcards; fewer
 * where there aren't as many. A template without its {}, with two, or with one that is part of a choice is
 * LECO_INVALID. */
leco_status contexts_draw(const char *const *templates, size_t count, size_t wanted, rng *r, arena *memory,
                          context_list *out, leco_error *err);

/* Is it a text with one {} and whole wildcards? If not, LECO_INVALID that quotes it. */
leco_status context_check(const char *template, leco_error *err);

/* Words, of which a list ends with NULL. May be NULL: none. */
typedef const char *const *word_list;

/* The same of a topic's own texts, with words that the tokenizer knows and that aren't to be avoided. */
leco_status contexts_of_topic(const topic *about, const tokenizer *t, word_list avoid, size_t wanted, rng *r,
                              arena *memory, context_list *out, leco_error *err);

/* A topic's own texts with {} and wildcards, with words that the tokenizer knows and that aren't to be avoided; "{}"
 * alone where there are none. */
leco_status topic_templates(const topic *about, const tokenizer *t, word_list avoid, arena *memory,
                            const char *const **out, size_t *count, leco_error *err);

/* The words of a topic that the tokenizer knows, *count of them. */
leco_status topic_words(const topic *about, const tokenizer *t, arena *memory, const char ***out, size_t *count,
                        leco_error *err);

/* The context with a word in its place; NULL: out of memory. */
char *context_text(const context *c, const char *word, arena *memory);

/* A copy of a text with wildcards in which "a" before a vowel is "an", and before a choice is said in it: "a
 * {red|orange} star" is "{a red|an orange} star". NULL: out of memory. */
char *wildcards_with_articles(const char *text, arena *memory);

/* How long "a " or "an " is that a text begins with; 0: it doesn't. */
size_t word_article(const char *text);

/* A copy without the blanks and the punctuation around it, and without what texts have themselves: "a " or "an " ("a
 * star" is the star of "a small {}"), and of a word of a topic's list "the " and, behind it, the topic's name ("striped
 * style"). NULL: out of memory. */
const char *word_by_itself(const char *text, arena *memory);

/* Is it more than a word or a few, which would stand in texts as if it were one? Says so in the log. */
void word_warn_of_phrase(const char *word);

/* Is a word, or each of several, about one token? A model knows little of words that fall apart. */
bool word_is_known(const tokenizer *t, const char *word);
/* Logs which words of a text aren't, each with the known word of any topic that it may have been meant for: they are
 * likely misspelt. Where only these: those for which there is no such word are passed over. */
leco_status word_warn_of_unknown(const tokenizer *t, const char *text, bool only_meant, leco_error *err);

/* A text as token ids. */
typedef struct placed_text {
    int32_t *ids;        /* [tokenizer_length]: start, the text, end, padding; the arena's */
    size_t needed;       /* ids without padding */
    bool cut;            /* there were more */
    size_t from, length; /* the word's tokens; length is 0 of an empty word and of a text without a place */
    size_t lead;         /* of these, those before the last word of several */
} placed_text;

/* A text that is too long, or a word that is, is LECO_INVALID and names it. */
leco_status context_place(const context *c, const char *word, const tokenizer *t, arena *memory, placed_text *out,
                          leco_error *err);
/* A text without a place. One that is too long is cut. */
leco_status text_place(const char *text, const tokenizer *t, arena *memory, placed_text *out, leco_error *err);

/* Two texts as ids, each with its place where the other one's differs: behind what both begin with, before what both
 * end with. Texts that are too long are LECO_INVALID. */
leco_status pair_place(const char *text, const char *other, const tokenizer *t, arena *memory, placed_text out[2],
                       leco_error *err);

/* Do the tokens of a word (without start and end) occur in a text, one behind the other? */
bool text_mentions(const placed_text *text, const placed_text *word);

#endif
