/* Prodigy: Adam at a rate d lr, where d is an estimate of how far there is to go. With q = d / d0 and r = d lr (times
 * Adam's bias correction, where that is asked for), of the step n, and beta3 = sqrt(b2) where it is None:
 *
 *     m = b1 m + d (1 - b1) g;  v = b2 v + d^2 (1 - b2) g^2;  s = beta3 s + q r g
 *     a = beta3 a + q r sum(g (p0 - p));  d' = d_coef a / sum|s|;  d = the largest d' so far, at most growth_rate d
 *     p -= r wd p (decoupled);  p -= r m / (sqrt(v) + d eps), where b1 is 0 with d g in m's place
 *
 * with r still of the d before, p0 what training started from, and sums over everything (every slice_p-th element of
 * each param). A step with a rate of 0, or where all of s is 0, changes neither p nor d.
 *
 * Source: Mishchenko and Defazio, "Prodigy: an expeditiously adaptive parameter-free learner" (2023), in the form that
 * the package prodigyopt 1.1 has. */
#include <math.h>

#include "train/optimizer.h"

enum { BETAS, BETA3, EPS, WEIGHT_DECAY, DECOUPLE, BIAS_CORRECTION, SAFEGUARD_WARMUP, D0, D_COEF, GROWTH_RATE, SLICE_P };
enum { D, D_MAX, NUMERATOR, TAKEN, NUMBERS }; /* TAKEN: steps that changed something */

#define LEAST_EPS 1e-37

static leco_status check(const optimizer_options *o, leco_error *err)
{
    const double p = o->value[SLICE_P][0];
    if (p == floor(p)) return LECO_OK;
    return error_set(err, LECO_INVALID, "slice_p: expected a whole number, found %g", p);
}

/* Elements of a param that the estimate of d looks at. */
static size_t sliced(const optimizer_options *options, const param *p)
{
    const size_t every = (size_t)options->value[SLICE_P][0];
    return ((size_t)shape_count(&p->shape) + every - 1) / every;
}

static size_t all_sliced(const optimizer_options *options, const flat_params *on)
{
    size_t sum = 0;
    for (size_t i = 0; i < on->param_count; i++) sum += sliced(options, &on->params[i]);
    return sum;
}

/* v of all values; m, unless b1 is 0; s and p0 of the slices, param after param. */
static size_t state_floats(const optimizer_options *options, const flat_params *on)
{
    return (options->value[BETAS][0] > 0 ? 2 : 1) * on->count + 2 * all_sliced(options, on);
}

/* What a step goes by, as torch has it: scalars in double, rounded once where they meet f32 tensors. */
typedef struct prodigy {
    const optimizer_update *u;
    double b1, b2, beta3, decay, d, rate, quotient;
    bool decoupled;
    float *v, *m, *s, *start; /* m NULL where there is none */
} prodigy;

static prodigy open(const optimizer_update *u)
{
    const double(*argument)[2] = u->options->value;
    const double b1 = argument[BETAS][0], b2 = argument[BETAS][1], beta3 = argument[BETA3][0];
    prodigy w = {.u = u,
                 .b1 = b1,
                 .b2 = b2,
                 .beta3 = beta3 == OPTIMIZER_NONE ? sqrt(b2) : beta3,
                 .decay = argument[WEIGHT_DECAY][0],
                 .decoupled = argument[DECOUPLE][0] != 0,
                 .v = u->state};
    w.m = b1 > 0 ? w.v + u->on.count : NULL;
    w.s = w.v + (w.m ? 2 : 1) * u->on.count;
    w.start = w.s + all_sliced(u->options, &u->on);
    if (u->step == 1) {
        u->numbers[D] = u->numbers[D_MAX] = argument[D0][0];
        float *start = w.start;
        for (size_t i = 0; i < u->on.param_count; i++)
            for (size_t k = 0; k < sliced(u->options, &u->on.params[i]); k++)
                *start++ = ((const float *)u->on.params[i].value)[k * (size_t)argument[SLICE_P][0]];
    }
    const double n = u->numbers[TAKEN] + 1;
    w.d = u->numbers[D];
    w.rate = w.d * u->lr;
    if (argument[BIAS_CORRECTION][0] != 0) w.rate *= sqrt(1 - pow(b2, n)) / (1 - pow(b1, n));
    w.quotient = w.d / argument[D0][0];
    return w;
}

/* With the decay that isn't decoupled. */
static float gradient(const prodigy *w, size_t i)
{
    const float g = w->u->grads[i] * w->u->scale;
    return w->decay != 0 && !w->decoupled ? g + (float)w->decay * w->u->on.values[i] : g;
}

/* m, v and s; adds to the two sums that d is found by. */
static void gather(const prodigy *w, double *dot, double *norm)
{
    const optimizer_update *u = w->u;
    const float beta1 = (float)w->b1, beta2 = (float)w->b2, beta3 = (float)w->beta3;
    const float rest1 = (float)(w->d * (1 - w->b1)), rest2 = (float)(w->d * w->d * (1 - w->b2));
    const float part = (float)(w->quotient * (u->options->value[SAFEGUARD_WARMUP][0] != 0 ? w->d : w->rate));
    const size_t every = (size_t)u->options->value[SLICE_P][0];
    for (size_t i = 0; i < u->on.count; i++) {
        const float g = gradient(w, i);
        if (w->m) w->m[i] = beta1 * w->m[i] + rest1 * g;
        w->v[i] = beta2 * w->v[i] + rest2 * g * g;
    }
    float *s = w->s;
    const float *start = w->start;
    for (size_t i = 0; i < u->on.param_count; i++) {
        const size_t first = (size_t)((const float *)u->on.params[i].value - u->on.values);
        for (size_t k = 0; k < sliced(u->options, &u->on.params[i]); k++, s++, start++) {
            const float g = gradient(w, first + k * every);
            *dot += (double)g * (double)(*start - u->on.values[first + k * every]);
            *s = beta3 * *s + part * g;
            *norm += fabs((double)*s);
        }
    }
}

static void step(const optimizer_update *u)
{
    const double(*argument)[2] = u->options->value;
    const prodigy w = open(u);
    double dot = 0, norm = 0, d = w.d;
    if (!(u->lr > 0)) return;
    gather(&w, &dot, &norm);
    if (norm == 0) return;
    u->numbers[NUMERATOR] = w.beta3 * u->numbers[NUMERATOR] + w.quotient * w.rate * dot;
    const double found = argument[D_COEF][0] * u->numbers[NUMERATOR] / norm;
    if (d == argument[D0][0]) d = fmax(d, found);
    u->numbers[D_MAX] = fmax(u->numbers[D_MAX], found);
    u->numbers[D] = fmin(u->numbers[D_MAX], d * argument[GROWTH_RATE][0]);
    u->numbers[TAKEN]++;

    const float eps = (float)(u->numbers[D] * argument[EPS][0]), keep = (float)(-w.decay * w.rate);
    const float rate = (float)(w.m ? w.rate : w.rate * u->numbers[D]);
    float *value = u->on.values;
    for (size_t i = 0; i < u->on.count; i++) {
        const float along = w.m ? w.m[i] : gradient(&w, i), size = sqrtf(w.v[i]) + eps;
        if (w.decay != 0 && w.decoupled) value[i] += keep * value[i];
        value[i] -= rate * along / size;
    }
}

const optimizer_row optimizer_prodigy = {
    .name = "prodigy",
    .argument = {[BETAS] = {"betas", ARGUMENT_PAIR, {0.9, 0.999}, 0, 1},
                 [BETA3] = {"beta3", ARGUMENT_OPTIONAL, {OPTIMIZER_NONE}, 0, 1},
                 [EPS] = {"eps", ARGUMENT_NUMBER, {1e-8}, LEAST_EPS, 1},
                 [WEIGHT_DECAY] = {"weight_decay", ARGUMENT_NUMBER, {0}, 0, 10},
                 [DECOUPLE] = {"decouple", ARGUMENT_FLAG, {1}, 0, 0},
                 [BIAS_CORRECTION] = {"use_bias_correction", ARGUMENT_FLAG, {0}, 0, 0},
                 [SAFEGUARD_WARMUP] = {"safeguard_warmup", ARGUMENT_FLAG, {0}, 0, 0},
                 [D0] = {"d0", ARGUMENT_NUMBER, {1e-6}, 1e-30, 1e3},
                 [D_COEF] = {"d_coef", ARGUMENT_NUMBER, {1}, 1e-6, 1e6},
                 [GROWTH_RATE] = {"growth_rate", ARGUMENT_NUMBER, {INFINITY}, 1, INFINITY},
                 [SLICE_P] = {"slice_p", ARGUMENT_NUMBER, {1}, 1, 1e6}},
    .check = check,
    .state_floats = state_floats,
    .numbers = NUMBERS,
    .step = step,
    .finds_rate = true};
