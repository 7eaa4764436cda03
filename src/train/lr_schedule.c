#include "train/lr_schedule.h"

#include <math.h>

static double constant_at(double lr, int64_t step, int64_t steps)
{
    (void)step;
    (void)steps;
    return lr;
}

static double cosine_at(double lr, int64_t step, int64_t steps)
{
    const double pi = 3.14159265358979323846, least = lr / 100;
    return least + (lr - least) * 0.5 * (1 + cos(pi * (double)step / (double)steps));
}

const lr_schedule_row lr_schedule_rows[LR_COUNT] = {
    [LR_CONSTANT] = {"constant", constant_at},
    [LR_COSINE] = {"cosine", cosine_at},
};

double lr_at(lr_schedule schedule, double lr, int64_t step, int64_t steps)
{
    return lr_schedule_rows[schedule].at(lr, step, steps);
}
