#include "train/lr_schedule.h"

#include <math.h>

static double constant_at(const lr_plan *plan, double lr, int64_t step, int64_t steps)
{
    (void)plan;
    (void)step;
    (void)steps;
    return lr;
}

static double linear_at(const lr_plan *plan, double lr, int64_t step, int64_t steps)
{
    (void)plan;
    return lr * ((double)(steps - step) / (double)steps);
}

static double cosine_at(const lr_plan *plan, double lr, int64_t step, int64_t steps)
{
    (void)plan;
    const double pi = 3.14159265358979323846, least = lr / 100;
    return least + (lr - least) * 0.5 * (1 + cos(pi * (double)step / (double)steps));
}

static double restarts_at(const lr_plan *plan, double lr, int64_t step, int64_t steps)
{
    int64_t period = steps / 10 > 0 ? steps / 10 : 1;
    while (step >= period) {
        step -= period;
        period *= 2;
    }
    return cosine_at(plan, lr, step, period);
}

static double step_at(const lr_plan *plan, double lr, int64_t step, int64_t steps)
{
    (void)plan;
    return lr * pow(0.999, (double)(step / (steps / 100 > 0 ? steps / 100 : 1)));
}

static double polynomial_at(const lr_plan *plan, double lr, int64_t step, int64_t steps)
{
    return (lr - LR_POLYNOMIAL_END) * pow(1 - (double)step / (double)steps, plan->power) + LR_POLYNOMIAL_END;
}

const lr_schedule_row lr_schedule_rows[LR_COUNT] = {
    [LR_CONSTANT] = {"constant", constant_at},
    [LR_COSINE] = {"cosine", cosine_at},
    [LR_LINEAR] = {"linear", linear_at},
    [LR_COSINE_WITH_RESTARTS] = {"cosine_with_restarts", restarts_at},
    [LR_STEP] = {"step", step_at},
    [LR_POLYNOMIAL] = {"polynomial", polynomial_at},
    [LR_CONSTANT_WITH_WARMUP] = {"constant_with_warmup", constant_at},
};

int64_t lr_warmup_steps(const lr_plan *plan, int64_t steps)
{
    return (int64_t)(plan->warmup < 1 ? plan->warmup * (double)steps : plan->warmup);
}

double lr_at(const lr_plan *plan, double lr, int64_t step, int64_t steps)
{
    const int64_t warmup = lr_warmup_steps(plan, steps);
    if (step < warmup) return lr * ((double)step / (double)warmup);
    return lr_schedule_rows[plan->schedule].at(plan, lr, step - warmup, steps - warmup);
}
