/* DAdaptAdam and DAdaptLion: Adam and Lion at a rate d lr, where d is an estimate of how far there is to go. With
 * r = d lr (of DAdaptAdam times Adam's bias correction, where that is asked for), c = sqrt(b2), n = c n + (1 - c) a:
 *
 *     DAdaptAdam  a = r sum(g s / (sqrt(v) + eps));  m = b1 m + r (1 - b1) g;  v = b2 v + (1 - b2) g^2
 *                 s = c s + r (1 - c) g;  d' = n / ((1 - c) sum|s|);  d = the larger of d, and d' or growth_rate d
 *                 p -= r wd p (decoupled);  p -= m / (sqrt(v) + eps)
 *     DAdaptLion  p -= r wd p;  u = sign(b1 m + (1 - b1) g);  p -= r u;  m = b2 m + r (1 - b2) g
 *                 a = r sum(u s);  s = c s + r (1 - c) u;  d' = n / ((1 - c) sum|s|);  d = the larger of d and d'
 *
 * with r still of the d before, and sums over everything that is trained.
 *
 * Source: Defazio and Mishchenko, "Learning-rate-free learning by D-adaptation" (2023), in the form that the package
 * dadaptation 3.2 has. */
#include <math.h>

#include "train/optimizer.h"

enum { D, NUMERATOR, TAKEN, NUMBERS }; /* TAKEN: steps that changed something */

#define LEAST_EPS 1e-37

/* ---- DAdaptAdam ---- */

enum { BETAS, EPS, WEIGHT_DECAY, DECOUPLE, BIAS_CORRECTION, D0, GROWTH_RATE };

/* s of all values, then m, then v. */
static size_t adam_state(const optimizer_options *options, const flat_params *on)
{
    (void)options;
    return 3 * on->count;
}

/* With the decay that isn't decoupled. */
static float gradient(const optimizer_update *u, size_t i)
{
    const double(*argument)[2] = u->options->value;
    const float g = u->grads[i] * u->scale;
    return argument[DECOUPLE][0] == 0 ? g + (float)argument[WEIGHT_DECAY][0] * u->on.values[i] : g;
}

static double adam_rate(const optimizer_update *u)
{
    const double(*argument)[2] = u->options->value;
    const double n = u->numbers[TAKEN] + 1, rate = u->numbers[D] * u->lr;
    if (argument[BIAS_CORRECTION][0] == 0) return rate;
    return rate * sqrt(1 - pow(argument[BETAS][1], n)) / (1 - pow(argument[BETAS][0], n));
}

/* s, m and v; adds to the two sums that d is found by. torch computes scalars in double and rounds them once, when they
 * meet f32 tensors; so do these. */
static void gather(const optimizer_update *u, double rate, double *dot, double *norm)
{
    const double(*argument)[2] = u->options->value;
    const double b1 = argument[BETAS][0], b2 = argument[BETAS][1], c = sqrt(b2);
    const float beta1 = (float)b1, beta2 = (float)b2, rest1 = (float)(rate * (1 - b1)), rest2 = (float)(1 - b2);
    const float root = (float)c, rest = (float)(rate * (1 - c)), eps = (float)argument[EPS][0];
    float *s = u->state, *m = s + u->on.count, *v = m + u->on.count;
    for (size_t i = 0; i < u->on.count; i++) {
        const float g = gradient(u, i);
        *dot += (double)g * (double)(s[i] / (sqrtf(v[i]) + eps));
        m[i] = beta1 * m[i] + rest1 * g;
        v[i] = beta2 * v[i] + rest2 * g * g;
        s[i] = root * s[i] + rest * g;
        *norm += fabs((double)s[i]);
    }
}

static void adam_step(const optimizer_update *u)
{
    const double(*argument)[2] = u->options->value;
    const double c = sqrt(argument[BETAS][1]);
    double dot = 0, norm = 0;
    if (u->step == 1) u->numbers[D] = argument[D0][0];
    const double rate = adam_rate(u), d = u->numbers[D];
    if (!(u->lr > 0)) return;
    gather(u, rate, &dot, &norm);
    if (norm == 0) return;
    u->numbers[NUMERATOR] = c * u->numbers[NUMERATOR] + (1 - c) * rate * dot;
    u->numbers[D] = fmax(d, fmin(u->numbers[NUMERATOR] / ((1 - c) * norm), d * argument[GROWTH_RATE][0]));
    u->numbers[TAKEN]++;

    const float eps = (float)argument[EPS][0], decay = (float)(-argument[WEIGHT_DECAY][0] * rate);
    const bool decoupled = argument[DECOUPLE][0] != 0 && argument[WEIGHT_DECAY][0] != 0;
    float *value = u->on.values;
    const float *m = u->state + u->on.count, *v = m + u->on.count;
    for (size_t i = 0; i < u->on.count; i++) {
        if (decoupled) value[i] += decay * value[i];
        value[i] -= m[i] / (sqrtf(v[i]) + eps);
    }
}

const optimizer_row optimizer_dadaptadam = {
    .name = "dadaptadam",
    .argument = {[BETAS] = {"betas", ARGUMENT_PAIR, {0.9, 0.999}, 0, 1},
                 [EPS] = {"eps", ARGUMENT_NUMBER, {1e-8}, LEAST_EPS, 1},
                 [WEIGHT_DECAY] = {"weight_decay", ARGUMENT_NUMBER, {0}, 0, 10},
                 [DECOUPLE] = {"decouple", ARGUMENT_FLAG, {0}, 0, 0},
                 [BIAS_CORRECTION] = {"use_bias_correction", ARGUMENT_FLAG, {0}, 0, 0},
                 [D0] = {"d0", ARGUMENT_NUMBER, {1e-6}, 1e-30, 1e3},
                 [GROWTH_RATE] = {"growth_rate", ARGUMENT_NUMBER, {INFINITY}, 1, INFINITY}},
    .state_floats = adam_state,
    .numbers = NUMBERS,
    .step = adam_step,
    .finds_rate = true};

/* ---- DAdaptLion ---- */

enum { LION_BETAS, LION_DECAY, LION_D0 };

/* m of all values, then s. */
static size_t lion_state(const optimizer_options *options, const flat_params *on)
{
    (void)options;
    return 2 * on->count;
}

static void lion_step(const optimizer_update *u)
{
    const double(*argument)[2] = u->options->value;
    const double b1 = argument[LION_BETAS][0], b2 = argument[LION_BETAS][1], c = sqrt(b2);
    double dot = 0, norm = 0;
    if (u->step == 1) u->numbers[D] = argument[LION_D0][0];
    const double d = u->numbers[D], r = d * u->lr;
    const float keep = (float)(1 - r * argument[LION_DECAY][0]), rate = (float)r, rest = (float)((1 - c) * r);
    const float beta1 = (float)b1, rest1 = (float)(1 - b1), beta2 = (float)b2, rest2 = (float)((1 - b2) * r);
    float *value = u->on.values, *m = u->state, *s = m + u->on.count;
    for (size_t i = 0; i < u->on.count; i++) {
        const float g = u->grads[i] * u->scale, along = beta1 * m[i] + rest1 * g;
        const float sign = (float)((along > 0) - (along < 0));
        value[i] = value[i] * keep - rate * sign;
        m[i] = beta2 * m[i] + rest2 * g;
        dot += (double)(sign * s[i]);
        s[i] = (float)c * s[i] + rest * sign;
        norm += fabs((double)s[i]);
    }
    if (norm == 0) return;
    u->numbers[NUMERATOR] = c * u->numbers[NUMERATOR] + (1 - c) * r * dot;
    if (u->lr > 0) u->numbers[D] = fmax(d, u->numbers[NUMERATOR] / ((1 - c) * norm));
}

const optimizer_row optimizer_dadaptlion = {.name = "dadaptlion",
                                            .argument = {[LION_BETAS] = {"betas", ARGUMENT_PAIR, {0.9, 0.99}, 0, 1},
                                                         [LION_DECAY] = {"weight_decay", ARGUMENT_NUMBER, {0}, 0, 10},
                                                         [LION_D0] = {"d0", ARGUMENT_NUMBER, {1e-6}, 1e-30, 1e3}},
                                            .state_floats = lion_state,
                                            .numbers = NUMBERS,
                                            .step = lion_step,
                                            .finds_rate = true};
