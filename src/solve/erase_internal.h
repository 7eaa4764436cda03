/* What the parts of an erasure share: erase.c makes it, erase_measure.c says what came of it, and both go through its
 * pairs of states. */
#ifndef LECO_SOLVE_ERASE_INTERNAL_H
#define LECO_SOLVE_ERASE_INTERNAL_H

#include "base/name_table.h"
#include "solve/erase.h"

/* One concept at work. */
typedef struct subject {
    const char *word;
    placed_text alone;
    context_list at;
    context_list usual;    /* where `at` is the caller's: leco's own, in which near words are kept, too */
    encoded_text *text;    /* [at.count] with the concept, */
    encoded_text **target; /* [targets][at.count] and with what it becomes */
    const erase_target *targets;
    size_t target_count;
} subject;

typedef struct solver {
    model *model;
    const device *device;
    const erase_options *options;
    erase_result *result;
    arena *memory, *texts; /* the result's; of what is needed until the end */
    readers readers;
    double *sketch;
    subject *subject; /* [count]: one each, or one for all pairs */
    size_t count;
    encoded_text *kept;
    const char **kept_name;
    float *kept_weight;     /* how often each is counted */
    name_table kept_places; /* in kept_name */
    size_t kept_count, kept_capacity;
    double kept_own;           /* the part of their weights that the caller's own have no share in */
    const char *contradiction; /* a text that was to be kept, and says what a pair changes; or NULL */
    size_t tokens;
    edit edit;
    double *moved; /* the sketch of what the LoRA adds to the matrices */
    rng random;
    leco_error *err;
} solver;

static inline leco_status erase_no_memory(const solver *s, const char *what)
{
    return error_memory(s->err, 0, what);
}

/* Tells whoever waits; LECO_INTERRUPTED where they don't want to any longer. done: 0 to 1. */
static inline leco_status erase_report(const solver *s, double done)
{
    if (!s->options->progress || s->options->progress(s->options->user, done)) return LECO_OK;
    return error_set(s->err, LECO_INTERRUPTED, "stopped before anything was written");
}

/* The concept that a text mentions; NULL: none. */
const subject *erase_mentioned(const solver *s, const placed_text *text);

/* Fills `kept`: the empty prompt, the contexts with other words, what the caller names. */
leco_status erase_keep(solver *s);

/* Calls back with the pairs of a concept in each context: c becomes the mixture of its targets. */
leco_status erase_each_pair(solver *s, const subject *c,
                            leco_status (*use)(solver *s, const state_pairs *p, void *user), void *user);

/* How far concepts and kept texts move by what was cut, at the result's rank, into the result; what looks bad is
 * logged. That nothing is to move is LECO_INVALID. */
leco_status erase_measure(solver *s, const cut *c);

#endif
