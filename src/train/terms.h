/* What a mode trains towards: a weighted sum of noise predictions of frozen models (docs: design, section 1).
 *
 *     target = sum over i of weight_i * prediction(model_i, prompt_i)
 *
 * A mode is nothing but the list it makes; the trainer knows no modes. */
#ifndef LECO_TRAIN_TERMS_H
#define LECO_TRAIN_TERMS_H

#include "train/config.h"

#define TERMS_MAX 8

typedef struct term {
    double weight;
    int model;          /* among the run's frozen models; 0: the one that is trained, without its adapter */
    const char *prompt; /* borrowed */
} term;

/* No two terms have the same model and prompt, and none has weight 0: each is one prediction to make. */
typedef struct term_list {
    size_t count;
    term item[TERMS_MAX];
} term_list;

/* Adds to a list, merging equal terms and dropping those that cancel. */
void terms_add(term_list *list, double factor, int model_index, const char *prompt);

/* erase    neutral - guidance_scale (positive - unconditional)
 * enhance  neutral + guidance_scale (positive - unconditional) */
term_list terms_of_prompt(const train_prompt *p);

/* Is the target what model 0 predicts for `prompt` anyway? A student of that prompt has nothing to learn from it. */
bool terms_hold_still(const term_list *list, const char *prompt);

/* Refuses a config of which no pair can move the adapter, saying what to write; a pair that can't, among others that
 * do, is a warning in the log, unless its guidance_scale or weight is 0: such pairs are meant to hold a prompt still or
 * are switched off. */
leco_status terms_check(const train_config *config, leco_error *err);

/* target [count] = the weighted sum of predictions [terms, count], in the list's order. */
void terms_sum(const term_list *list, const float *predictions, float *target, size_t count);

#endif
