/* Who watches a training: the effect meter, previews, the log, TensorBoard. Nothing that it does changes the training;
 * what it can't write it warns of once, and goes without. */
#ifndef LECO_TRAIN_OBSERVER_H
#define LECO_TRAIN_OBSERVER_H

#include "train/effect.h"
#include "train/previews.h"
#include "train/run_log.h"

/* Zero-initialise. */
typedef struct observer {
    const train_config *config;
    effect_meter *meter; /* any of these may be NULL */
    previews *previews;
    run_log *log;
    struct tfevents *events;
    double loss_mean; /* over the last steps, from behind this one on */
    int64_t mean_begun;
    step_figures step; /* the last one, as long as its line isn't written */
    bool pending;
    effect_figures effect;  /* as measured last, */
    int64_t effect_step;    /* after so many steps; */
    bool measured, reached; /* at all; and it is as far as the training is to go */
    double previous_effect; /* the one before; NaN: none */
} observer;

/* Called after each run of the U-Net that isn't the training's, with its samples; false stops. */
typedef struct observer_watch {
    bool (*went)(void *user, size_t samples);
    void *user;
} observer_watch;

/* Plans what the config asks for, and looks whether it could be written. size: of the objectives' pictures. */
leco_status observer_plan(observer *o, const training_setting *in, const objective_list *objectives, latent_size size,
                          leco_error *err);
leco_status observer_prepare(observer *o, const training_setting *in, leco_error *err);
void observer_free(observer *o); /* safe on a zeroed one */

size_t observer_bytes(const observer *o); /* of the effect meter; as planned */

/* The prompts that the trained model is asked with besides the objectives'. */
leco_status observer_visit_prompts(const train_config *config,
                                   leco_status (*visit)(void *user, const char *, leco_error *), void *user,
                                   leco_error *err);

/* Before the adapter becomes what a state says, and before the first step. */
leco_status observer_begin(observer *o, const observer_watch *w, leco_error *err);
/* With the adapter that the training begins, or goes on, with. before: as observer_look has it; -1: a trajectory is
 * pending. */
leco_status observer_start(observer *o, int64_t done, bool resumed, int64_t before, const observer_watch *w,
                           leco_error *err);
/* Are figures of each step wanted that cost something? */
bool observer_wants_steps(const observer *o);
void observer_note(observer *o, const step_figures *s);
/* Between trajectories, of which the last began after `before` steps: measures and draws what is due. Then o->reached
 * says whether to end here. */
leco_status observer_look(observer *o, int64_t done, int64_t before, const observer_watch *w, leco_error *err);
/* At the end of all: what wasn't looked at since. */
leco_status observer_end(observer *o, int64_t done, const observer_watch *w, leco_error *err);
/* All lines are in their files; before a state is written that goes on behind them. */
void observer_flush(observer *o);

double observer_samples_left(const observer *o, int64_t done); /* of the U-Net */

/* Tells what the figures say should be changed, as warnings. */
void observer_judge(const observer *o, int64_t done);

#endif
