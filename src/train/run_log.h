/* The log of a training: a JSON object a line, in the order of the steps.
 *
 *     {"step": 12, "loss": 0.031, "loss_mean": 0.035, "lr": 0.0001, "grad_norm": 0.2, "entry": "erase.yaml:9",
 * "timestep": 541, "seconds": 3.2}
 *
 * and, of a step after which the effect was measured, with "effect", "moved", "kept", "neighbours" and "unrelated",
 * too, each null where it isn't known. */
#ifndef LECO_TRAIN_RUN_LOG_H
#define LECO_TRAIN_RUN_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "train/effect_figures.h"

/* What an optimizer step was. */
typedef struct step_figures {
    int64_t step; /* from 1; 0: before the first, of which there are effects only */
    double loss, loss_mean, lr, grad_norm, seconds;
    const char *entry;
    double timestep;
} step_figures;

typedef struct run_log run_log;

/* Begins a file, which replaces one of that name; or, where `done` isn't negative, goes on with it behind the line of
 * that step: what was written of later steps goes, for they come again. A file of that name without a line of a log is
 * LECO_FORMAT. On failure *out is NULL. */
leco_status run_log_open(const char *path, int64_t done, run_log **out, leco_error *err);
void run_log_close(run_log *l); /* NULL is fine */

/* Of the last line that it goes on behind; NAN where there is none. */
double run_log_last_mean(const run_log *l);

/* effect: NULL where it wasn't measured. The line is in the file after run_log_flush, or a second later. */
leco_status run_log_write(run_log *l, const step_figures *s, const effect_figures *effect, leco_error *err);
leco_status run_log_flush(run_log *l, leco_error *err);

#endif
