/* How the learning rate moves over a run. Each schedule is a row; a warm-up may come before any of them: over its steps
 * the rate rises from 0, lr step / warm-up, and the schedule has the steps that are left. Of step i of n:
 *
 *     constant              lr; constant_with_warmup is the same, and must have one
 *     linear                lr (1 - i / n), as transformers and sd-scripts have it. (p1atdev's trainer has the name,
 * but fails on it: it gives torch's LinearLR an argument that there is not.) cosine                from lr to lr / 100
 * by half a cosine, as p1atdev's trainer and torch's CosineAnnealingLR(T_max = n, eta_min = lr / 100) have it
 *     cosine_with_restarts  the same over n / 10 steps, then over twice as many, and so on: p1atdev's
 *                           CosineAnnealingWarmRestarts(T_0 = n // 10, T_mult = 2, eta_min = lr / 100)
 *     step                  lr 0.999^k, k rising by one every n / 100 steps: p1atdev's StepLR(n // 100, gamma = 0.999)
 *     polynomial            from lr to 1e-7 by (1 - i / n)^power, as transformers and sd-scripts have it */
#ifndef LECO_TRAIN_LR_SCHEDULE_H
#define LECO_TRAIN_LR_SCHEDULE_H

#include <stdint.h>

typedef enum lr_schedule {
    LR_CONSTANT,
    LR_COSINE,
    LR_LINEAR,
    LR_COSINE_WITH_RESTARTS,
    LR_STEP,
    LR_POLYNOMIAL,
    LR_CONSTANT_WITH_WARMUP,
    LR_COUNT
} lr_schedule;

typedef struct lr_plan {
    lr_schedule schedule;
    double warmup; /* steps, or below 1 a share of all */
    double power;  /* of the polynomial */
} lr_plan;

typedef struct lr_schedule_row {
    const char *name; /* in configs: "cosine" */
    double (*at)(const lr_plan *plan, double lr, int64_t step, int64_t steps);
} lr_schedule_row;

extern const lr_schedule_row lr_schedule_rows[LR_COUNT]; /* in the enum's order */

#define LR_POLYNOMIAL_END 1e-7 /* lr is above it */

int64_t lr_warmup_steps(const lr_plan *plan, int64_t steps);

/* The rate of the step after `step` others of `steps`. */
double lr_at(const lr_plan *plan, double lr, int64_t step, int64_t steps);

#endif
