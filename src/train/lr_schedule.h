/* How the learning rate moves over a run. Each schedule is a row.
 *
 *     constant  lr
 *     cosine    from lr to lr / 100 by half a cosine, as p1atdev's trainer and torch's
 *               CosineAnnealingLR(T_max = steps, eta_min = lr / 100) have it */
#ifndef LECO_TRAIN_LR_SCHEDULE_H
#define LECO_TRAIN_LR_SCHEDULE_H

#include <stdint.h>

typedef enum lr_schedule { LR_CONSTANT, LR_COSINE, LR_COUNT } lr_schedule;

typedef struct lr_schedule_row {
    const char *name; /* in configs: "cosine" */
    double (*at)(double lr, int64_t step, int64_t steps);
} lr_schedule_row;

extern const lr_schedule_row lr_schedule_rows[LR_COUNT]; /* in the enum's order */

/* The rate of the step after `step` others of `steps`. */
double lr_at(lr_schedule schedule, double lr, int64_t step, int64_t steps);

#endif
