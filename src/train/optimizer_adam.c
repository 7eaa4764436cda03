/* AdamW  p -= lr wd p;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
 *        p -= lr / (1 - b1^n) * m / (sqrt(v) / sqrt(1 - b2^n) + eps)
 * Adam   the same with g += wd p in place of the first step
 *
 * Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (2019); Kingma and Ba, "Adam" (2015). */
#include <math.h>

#include "train/optimizer.h"

enum { BETAS, EPS, WEIGHT_DECAY };

/* Without an eps that float32 can hold, a gradient of 0 (which all of a LoRA's down have at first) is divided by 0. */
#define LEAST_EPS 1e-37

/* m of all values, then v. */
static size_t state_floats(const optimizer_options *options, const flat_params *on)
{
    (void)options;
    return 2 * on->count;
}

/* torch computes scalars in double and rounds them once, when they meet f32 tensors; so do these. */
static void step(const optimizer_update *u, bool decoupled)
{
    const double(*argument)[2] = u->options->value;
    const double b1 = argument[BETAS][0], b2 = argument[BETAS][1], wd = argument[WEIGHT_DECAY][0];
    const float keep = (float)(1.0 - u->lr * wd), decay = (float)wd;
    const float beta2 = (float)b2, rest1 = (float)(1.0 - b1), rest2 = (float)(1.0 - b2);
    const float rate = (float)(u->lr / (1.0 - pow(b1, (double)u->step)));
    const float correction = (float)sqrt(1.0 - pow(b2, (double)u->step));
    const float eps = (float)argument[EPS][0];
    float *value = u->on.values, *m = u->state, *v = u->state + u->on.count;
    for (size_t i = 0; i < u->on.count; i++) {
        float g = u->grads[i] * u->scale;
        if (decoupled)
            value[i] *= keep;
        else
            g += decay * value[i];
        m[i] += rest1 * (g - m[i]);
        v[i] = beta2 * v[i] + rest2 * g * g;
        value[i] -= rate * (m[i] / (sqrtf(v[i]) / correction + eps));
    }
}

static void adamw_step(const optimizer_update *u)
{
    step(u, true);
}

static void adam_step(const optimizer_update *u)
{
    step(u, false);
}

const optimizer_row optimizer_adamw = {.name = "adamw",
                                       .argument = {[BETAS] = {"betas", ARGUMENT_PAIR, {0.9, 0.999}, 0, 1},
                                                    [EPS] = {"eps", ARGUMENT_NUMBER, {1e-8}, LEAST_EPS, 1},
                                                    [WEIGHT_DECAY] = {"weight_decay", ARGUMENT_NUMBER, {0.01}, 0, 10}},
                                       .state_floats = state_floats,
                                       .step = adamw_step};

const optimizer_row optimizer_adam = {.name = "adam",
                                      .argument = {[BETAS] = {"betas", ARGUMENT_PAIR, {0.9, 0.999}, 0, 1},
                                                   [EPS] = {"eps", ARGUMENT_NUMBER, {1e-8}, LEAST_EPS, 1},
                                                   [WEIGHT_DECAY] = {"weight_decay", ARGUMENT_NUMBER, {0}, 0, 10}},
                                      .state_floats = state_floats,
                                      .step = adam_step};
