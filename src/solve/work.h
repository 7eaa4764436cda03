/* How far a computation over many layers has come, for whoever waits. */
#ifndef LECO_SOLVE_WORK_H
#define LECO_SOLVE_WORK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct work {
    /* Told after each layer; false stops. May be NULL. seconds_left: negative where it isn't known. */
    bool (*report)(void *user, int64_t done, int64_t total, double seconds, double seconds_left);
    void *user;
    int64_t done, total;
    double begun, cost_done, cost; /* any unit: what is left takes as long as what was done, per cost */
} work;

/* Starts the clock. */
void work_begin(work *w, int64_t total, double cost);
/* One more layer is done. LECO_INTERRUPTED where the caller wants it to stop. */
leco_status work_step(work *w, double cost, leco_error *err);

#endif
