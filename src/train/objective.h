/* What is learnt. Everything is one loss, a sum over branches:
 *
 *     L = sum over b of  weight_b mean( ( student(x_t, t, prompt_b; multiplier_b)
 *                                         - sum over i of w_i prediction(model_i, prompt_i; x_t, t) )^2 )
 *
 * The student is the trained model with the trainable on, at the branch's multiplier; the terms are predictions of
 * frozen models at the same x_t and t. One more kind of target is the noise that was added to a photograph. Where x_t
 * comes from is a source (train/source.h); one of pairs of photographs gives two, with the same noise at the same t,
 * and student and terms each see the one that they name as their view. A mode, such as erase, is a function that makes
 * an objective (train/modes.c); the trainer knows no modes.
 *
 * One training step draws an objective, makes x_t, predicts every (model, prompt) that its branches name once, all
 * those of a model in one batch, adds up the gradients of all branches, and steps the optimizer once. */
#ifndef LECO_TRAIN_OBJECTIVE_H
#define LECO_TRAIN_OBJECTIVE_H

#include <stdbool.h>

#include "base/rng.h"
#include "diffusion/conditioning.h"
#include "diffusion/schedule.h"

/* A model of the run that is never changed. The first of them is the one that is trained, without its adapter. Owned by
 * the run. */
typedef struct frozen_model {
    const char *name; /* in messages: "teachers.donor"; of the first "pretrained_model" */
    model *model;
    conditioner *conditioner;
    noise_schedule *schedule;
} frozen_model;

typedef struct term {
    double weight;
    size_t model;       /* among the run's frozen models */
    const char *prompt; /* borrowed */
    size_t view;        /* which of the source's latents: 0, or 1 */
} term;

enum { TERMS_MAX = 8 };

/* No two terms have the same model, prompt and view, and none has weight 0: each is one prediction to make. */
typedef struct term_list {
    size_t count;
    term item[TERMS_MAX];
} term_list;

typedef struct branch {
    double weight;          /* of its part of the loss */
    double multiplier;      /* of the trainable in the student; not 0 */
    const char *prompt;     /* the student's; borrowed; NULL: each photograph's own */
    term_list terms;        /* what it is pulled to, */
    const term_list *early; /* or, where this isn't NULL, to these at timesteps from early_from on */
    double early_from;
    const term_list *like; /* one term of weight 1, whose mean and deviation the target gets; or NULL */
    bool added_noise;      /* the noise that a source of photographs added is part of what it is pulled to */
    size_t view;           /* the latent that the student sees */
} branch;

/* All predictions that a branch has a use for: `terms`, `early` and `like`, in this order. */
enum { BRANCH_LISTS = 3 };
const term_list *branch_list(const branch *b, size_t index);

/* A picture to train on, or a pair of them. Everything is borrowed. */
typedef struct photo {
    const char *path[2];   /* the second NULL where it is no pair */
    const char *prompt;    /* with wildcards */
    int64_t width, height; /* pixels of the first, the right way up */
} photo;

typedef struct source_row source_row; /* train/source.h */

/* Which latents, of what model and prompt. A source reads what it has a use for. */
typedef struct source_spec {
    const source_row *row;
    size_t model;      /* among the frozen models; 0: the trained one */
    double multiplier; /* of the trainable in it; 0: without it */
    const char *prompt, *unconditional;
    double guidance_scale;
    const photo *photos; /* [photo_count] all pairs, or none of them */
    size_t photo_count;
} source_spec;

typedef struct picture_size {
    int64_t batch;
    int64_t height, width; /* pixels; 0: the model's own */
} picture_size;

typedef struct objective {
    const char *place; /* "erase.yaml:7", for messages */
    const branch *branches;
    size_t branch_count;
    source_spec source;
    const source_spec *also; /* another one, which half of all passes take; NULL: none */
    picture_size size;
    int64_t tickets; /* how many times as likely to be drawn as one with a single ticket; 0 is 1 */
    /* Of an objective of changing size: it and those behind it in the list are the same at `heights` times `widths`
     * sizes, the widths of the first height first. It is the one that is drawn; then a size is. 0 of all others. */
    int64_t heights, widths;
    bool other_size; /* is it one of those behind? It has no tickets */
    bool crops;      /* is the U-Net told of another crop in each pass? Only families that are told of any (SDXL) */
    bool dynamic;    /* its size is the largest of several: sizes_add (train/sizes.h) has yet to make the others */
} objective;

/* Of a pass's objective one of the first is drawn, as likely as its tickets say; or, with probability `held_share`, one
 * of the last `held`. */
typedef struct objective_list {
    const objective *item;
    size_t count;
    size_t held;
    double held_share; /* in [0, 1) */
} objective_list;

size_t objectives_draw(const objective_list *list, rng *r); /* one word, or two where some are held */
/* Of one of changing size that was drawn, one of its sizes: two words. */
size_t objectives_draw_size(const objective_list *list, size_t drawn, rng *r);
double objectives_probability(const objective_list *list, size_t index); /* of being drawn */

/* Adds to a list, merging equal terms and dropping those that cancel; the first at view 0. */
void terms_add(term_list *list, double factor, size_t which, const char *prompt);
void terms_add_seen(term_list *list, double factor, size_t which, const char *prompt, size_t view);

/* target [count] = the weighted sum of the list's predictions: term k's are predictions + place[k] * count. */
void terms_sum(const term_list *list, const size_t *place, const float *predictions, float *target, size_t count);

/* Each of the `batch` latents in x [batch, stride] gets the mean and the standard deviation of that in `like`. */
void match_moments(float *x, const float *like, size_t batch, size_t stride);

/* Can no branch of it move anything? Each is pulled to what the trained model predicts for its prompt anyway, or is
 * switched off. */
bool objective_is_still(const objective *o);

#endif
