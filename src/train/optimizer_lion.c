/* Lion   p -= lr wd p;  p -= lr sign(b1 m + (1 - b1) g);  m = b2 m + (1 - b2) g
 *
 * Source: Chen et al., "Symbolic discovery of optimization algorithms" (2023), algorithm 2. */
#include "train/optimizer.h"

enum { BETAS, WEIGHT_DECAY };

static size_t state_floats(const optimizer_options *options, const flat_params *on)
{
    (void)options;
    return on->count;
}

/* Scalars are computed in double and rounded once, as torch does. The sign of 0 is 0. */
static void step(const optimizer_update *u)
{
    const double(*argument)[2] = u->options->value;
    const double b1 = argument[BETAS][0], b2 = argument[BETAS][1];
    const float beta1 = (float)b1, rest1 = (float)(1.0 - b1), beta2 = (float)b2, rest2 = (float)(1.0 - b2);
    const float keep = (float)(1.0 - u->lr * argument[WEIGHT_DECAY][0]), rate = (float)u->lr;
    float *value = u->on.values, *m = u->state;
    for (size_t i = 0; i < u->on.count; i++) {
        const float g = u->grads[i] * u->scale, along = beta1 * m[i] + rest1 * g;
        value[i] = value[i] * keep - rate * (float)((along > 0) - (along < 0));
        m[i] = beta2 * m[i] + rest2 * g;
    }
}

const optimizer_row optimizer_lion = {.name = "lion",
                                      .argument = {[BETAS] = {"betas", ARGUMENT_PAIR, {0.9, 0.99}, 0, 1},
                                                   [WEIGHT_DECAY] = {"weight_decay", ARGUMENT_NUMBER, {0}, 0, 10}},
                                      .state_floats = state_floats,
                                      .step = step};
