/* Words that a model does nearly the same with as with a concept: near in keys and values, in context. */
#ifndef LECO_SOLVE_NEAR_H
#define LECO_SOLVE_NEAR_H

#include "solve/pairing.h"
#include "solve/readers.h"

typedef struct near_word {
    const char *word;
    double distance; /* of keys and values, root mean square; relative to that of the median word of the topic */
    bool of_topic;   /* or found in the tokenizer's vocabulary (vocabulary.h) */
    bool form;       /* of these: by its letters another form of the concept, "reds" of "red" */
    bool same;       /* so near that it says the same, as "scarlet" does for "red" */
} near_word;

typedef struct near_words {
    near_word *item; /* the nearest first; the arena's */
    size_t count;
    const topic *topic;
    size_t known; /* words of the topic that the model knows, with those that are to be avoided */
    bool guessed; /* no list has the concept, the model knows it, and the topic that is said is none of names */
} near_words;

typedef struct near_search {
    const model *model; /* its text encoder is loaded */
    const readers *readers;
    const double *sketch; /* readers_sketch */
    const device *device;
    const char *const *avoid; /* [avoided] words that are not to be found: all concepts */
    size_t avoided;
} near_search;

/* The concept's topic is the one that lists it, or else that of the word nearest to it. */
leco_status near_find(const near_search *s, const char *concept, arena *memory, near_words *out, leco_error *err);

/* So many of the nearest words count most among what is kept: to tell these from the concept is hardest. */
enum { NEAR_MOST = 4 };

/* The nearest word of its kind that says something else; where its kind is guessed only, or the model knows no word of
 * it, perhaps one of the vocabulary that is nearer; NULL: none. */
const char *near_other(const near_words *near);
/* Words of the concept's kind that say something else, the nearest first; of those that share its first words ("red
 * heart" with "red star") alone, where `leading`. out [near->count]; how many there are. */
size_t near_others(const near_words *near, const char *concept, bool leading, const char **out);

#endif
