/* Concepts erased, or strengthened, without training: an edit (edit.h) of a model's cross-attention as a LoRA.
 *
 * Each concept is put into contexts; in each of them every state from the concept on becomes the state of the same
 * place where another word stands there. What is kept: the contexts with other words of its kind, the empty prompt, and
 * what the caller says. */
#ifndef LECO_SOLVE_ERASE_H
#define LECO_SOLVE_ERASE_H

#include "model/trainable.h"
#include "solve/cut.h"
#include "solve/near.h"

typedef struct erase_target {
    const char *text; /* "" is nothing */
    double share;     /* above 0 */
} erase_target;

/* A text that becomes another one: where they differ, and behind. */
typedef struct erase_pair {
    const char *text, *becomes;
} erase_pair;

typedef struct erase_options {
    const char *const *word; /* the concepts */
    size_t words;
    const erase_pair *pair; /* instead of concepts with contexts and targets */
    size_t pairs;
    const erase_target *target; /* what the concepts become, in these shares; none: for each the nearest word */
    size_t targets;
    const char *const *context;       /* templates with {} and wildcards; none: those of the concept's topic */
    const char *const *context_place; /* for messages: where each of these stands */
    size_t contexts;
    const char *const *keep; /* words for the contexts, and texts */
    size_t keeps;
    size_t certain; /* of these, from the first on: one that says a concept is refused, of the others it is left out */
    edit_method method;
    int rounds;
    double lambda;   /* relative to the mean square of what a state has in a dimension */
    double strength; /* 1; below 0 is the other way: the concept becomes more of what it is */
    int64_t rank;    /* 0: as low as leaves out no more than `lost`, max_rank at most */
    int64_t max_rank;
    double lost;
    bool (*progress)(void *user, double done); /* 0 to 1; false stops. May be NULL */
    void *user;
} erase_options;

enum { ERASE_MAX_RANK = 32 };
#define ERASE_LAMBDA 1e-4
#define ERASE_LOST 0.2
/* A part of the way: with more of it left, a concept is still itself. */
#define ERASE_HARDLY 0.75

/* What happens to one concept. */
typedef struct erased_concept {
    near_words near;
    const char *becomes; /* one text; or several in quotes, with their shares */
    size_t contexts;
    double left; /* how far its keys and values still are from the target's: 0 to 1 and above */
} erased_concept;

typedef struct kept_text {
    const char *text;
    double moved; /* its keys and values, root mean square, in parts of what those of the concepts move */
} kept_text;

typedef struct erase_result {
    trainable *trainable;
    int64_t rank;
    double lost;            /* cut_lost */
    erased_concept *erased; /* one each, or one for all pairs */
    kept_text *kept;        /* the most moved first */
    size_t kept_count;
    double kept_moved; /* root mean square of all */
    arena *memory;
} erase_result;

/* m has its U-Net mapped and its text encoder loaded. On success erase_result_free. */
leco_status erase_solve(model *m, const device *d, const erase_options *options, erase_result *out, leco_error *err);
void erase_result_free(erase_result *r); /* safe on a zeroed one */

#endif
