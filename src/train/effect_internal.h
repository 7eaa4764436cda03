/* What an effect meter is, for src/train/effect*.c only. */
#ifndef LECO_TRAIN_EFFECT_INTERNAL_H
#define LECO_TRAIN_EFFECT_INTERNAL_H

#include "train/effect.h"

enum { EFFECT_LATENTS = 3, EFFECT_MOST_BATCH = 32 }; /* kept of a trajectory, and asked at a time, at most */

typedef enum effect_group { GROUP_TARGET, GROUP_KEPT, GROUP_NEIGHBOURS, GROUP_UNRELATED, GROUP_COUNT } effect_group;

/* A trajectory, whose latents are kept. */
typedef struct effect_run {
    effect_group group;
    const objective *of; /* of a target */
    const char *prompt, *unconditional;
    double guidance_scale;
    phrases *phrases; /* all texts of it */
    conditioning positive, negative;
} effect_run;

/* A student that is asked at a run's latents. */
typedef struct effect_slot {
    size_t run;
    const branch *branch; /* of a target */
    const char *prompt;
    denoiser *student;
    conditioning text;
    const term_list *list[BRANCH_LISTS]; /* of a target: what it is asked to become, ... */
    size_t first[BRANCH_LISTS];          /* ... and the first of their predictions */
} effect_slot;

/* A prediction to be made of a frozen model. */
typedef struct effect_term {
    size_t slot;
    const term *of;
    conditioning text;
} effect_term;

/* One sample that a session is asked. */
typedef struct effect_question {
    denoiser *from;
    const conditioning *text;
    const float *x;
    float *answer;
    bool answered;
} effect_question;

struct effect_meter {
    const train_config *config;
    const frozen_model *frozen; /* [frozen_count] */
    size_t frozen_count;
    latent_size size;     /* of one latent: a batch of 1 */
    size_t stride, batch; /* floats of one; samples of a session */
    bool known;
    term_list nothing;    /* the unit's other end where it isn't */
    denoiser **teacher;   /* [frozen_count] NULL where none is asked */
    denoiser *base;       /* the model before the training */
    denoising *denoising; /* all runs in one batch */
    int64_t kept[EFFECT_LATENTS];
    size_t kept_count;
    effect_run *run;
    size_t runs, counts[GROUP_COUNT];
    effect_slot *slot;
    size_t slots;
    effect_term *term;
    size_t terms;
    effect_question *question; /* [questions] the most at a time */
    size_t questions;
    int64_t every;
    double share; /* of the training's time */
    bool begun;
    rng *rngs;                       /* [runs] */
    float *x, *seen, *answers;       /* [runs], [runs], [questions] latents */
    float *latents, *before, *asked; /* [kept_count, runs], [kept_count, slots] twice */
    float *input, *output;           /* [batch] */
};

/* Which runs and slots there are, and how often to measure: within the budget. Sets `runs` to 0 where that is never. */
leco_status effect_choose(effect_meter *m, const objective_list *objectives, leco_error *err);

#endif
