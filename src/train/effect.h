/* The effect meter: how far a training has come, as its targets see it, and what else moved on the way.
 *
 * A few latents x_t stay the same for the whole training: noise from a seed of their own, denoised a few steps by the
 * model as it was before, as an entry's prompt asks, with its guidance. At each, for each branch b of the entry's
 * objective,
 *
 *     base    what the model said before the training for the branch's prompt (without adapter; an embedding as it
 * began) asked   what the branch is pulled to, minus base: of erase  neutral - g (positive - unconditional) - base
 *     moved   what the student says now, at the branch's multiplier, minus base
 *
 *     effect = sum of <moved, asked> / |asked|, over the sum of |asked|     0: nothing, 1: as far as asked; above:
 * beyond unit   = the mean of |asked| moved  = the mean of |moved| / unit                                   the
 * targets, whatever the direction
 *
 * over all latents and branches; and the latter of other prompts, on latents of their own, in the same unit: `kept` of
 * those that are preserved, `neighbours` of texts with near words in the place of the concept, `unrelated` of others.
 * Where pictures say what is asked for, which shows only when each is noised, effect is not known, and the unit is the
 * distance between what the model says for the pictures' prompt and for "".
 *
 * It touches neither the training's random numbers nor the adapter, and is a function of the adapter alone: a training
 * that is resumed finds the same figures. */
#ifndef LECO_TRAIN_EFFECT_H
#define LECO_TRAIN_EFFECT_H

#include "train/effect_figures.h"
#include "train/source.h"

typedef struct effect_meter effect_meter;

/* Called after each run of the U-Net, with how many samples it had; false stops. */
typedef struct effect_watch {
    bool (*went)(void *user, size_t samples);
    void *user;
} effect_watch;

/* Chooses latents, and plans sessions of in->pool: as many as cost at most 5% of the training's time with a figure
 * every few steps; of a config that says how often or when to stop, whatever it costs. *out is NULL where that is none.
 * size: of the objectives' pictures. Everything is borrowed. A config that is to stop at an effect that can't be known
 * is LECO_INVALID. */
leco_status effect_plan(const training_setting *in, const objective_list *objectives, latent_size size,
                        effect_meter **out, leco_error *err);
/* Takes what was planned, when the pool was prepared and prompts encoded. */
leco_status effect_prepare(effect_meter *m, const training_setting *in, leco_error *err);
void effect_destroy(effect_meter *m);       /* NULL is fine */
size_t effect_bytes(const effect_meter *m); /* as planned */

/* The prompts that it asks the trained model with, besides the objectives': each is told to `visit`. */
leco_status effect_visit_prompts(const train_config *config,
                                 leco_status (*visit)(void *user, const char *, leco_error *), void *user,
                                 leco_error *err);

int64_t effect_every(const effect_meter *m);     /* steps */
size_t effect_first_cost(const effect_meter *m); /* samples of the U-Net: of effect_begin, */
size_t effect_cost(const effect_meter *m);       /* and of each effect_measure */
bool effect_known(const effect_meter *m);        /* or do pictures say what is asked for? */
/* "every 20 steps, on 15 latents: 4% of the time"; mem_free it; NULL: out of memory. */
char *effect_text(const effect_meter *m);

/* Makes the latents and asks the model as it is: with the adapter as it begins. LECO_INTERRUPTED where the watch said
 * no. */
leco_status effect_begin(effect_meter *m, const effect_watch *w, leco_error *err);
/* Of the adapter as it is now. */
leco_status effect_measure(effect_meter *m, const effect_watch *w, effect_figures *out, leco_error *err);

#endif
