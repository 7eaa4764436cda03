/* Adafactor, param by param, with eps = (e1, e2) and b = 1 - n^decay_rate in step n:
 *
 *     rate = lr, or with relative_step the lesser of 1 / sqrt(n) and 0.01 (with warmup_init 1e-6 n);
 *     with scale_parameter times the larger of e2 and rms(p)
 *     of a param of rank 2 and above, by its last two dimensions (others before them are taken one by one):
 *         R = b R + (1 - b) mean over columns of (g^2 + e1);  C likewise over rows
 *         u = g / sqrt(R / mean(R)) / sqrt(C)
 *     of a vector v = b v + (1 - b) (g^2 + e1);  u = g / sqrt(v)
 *     u = rate u / max(1, rms(u) / clip_threshold);  with beta1 m = beta1 m + (1 - beta1) u;  u = m
 *     p -= rate wd p;  p -= u
 *
 * Source: Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost" (2018), in the form that
 * transformers' Adafactor has, which sd-scripts uses. */
#include <math.h>

#include "train/optimizer.h"

enum { EPS, CLIP_THRESHOLD, DECAY_RATE, BETA1, WEIGHT_DECAY, SCALE_PARAMETER, RELATIVE_STEP, WARMUP_INIT };

static leco_status check(const optimizer_options *o, leco_error *err)
{
    if (o->value[WARMUP_INIT][0] != 0 && o->value[RELATIVE_STEP][0] == 0)
        return error_set(err, LECO_INVALID, "warmup_init needs relative_step");
    return LECO_OK;
}

static bool own_rate(const optimizer_options *o)
{
    return o->value[RELATIVE_STEP][0] != 0;
}

/* A param as `blocks` matrices. */
typedef struct matrices {
    size_t blocks, rows, columns;
    bool factored;
} matrices;

static matrices matrices_of(const param *p)
{
    const int rank = p->shape.rank;
    matrices s = {1, 1, (size_t)shape_count(&p->shape), rank >= 2};
    if (!s.factored) return s;
    s.rows = (size_t)p->shape.dim[rank - 2];
    s.columns = (size_t)p->shape.dim[rank - 1];
    for (int i = 0; i < rank - 2; i++) s.blocks *= (size_t)p->shape.dim[i];
    return s;
}

static size_t square_floats(const matrices *s)
{
    return s->blocks * (s->factored ? s->rows + s->columns : s->columns);
}

/* Param after param: R and C of its matrices, or v of a vector; then m, where there is a beta1. */
static size_t state_floats(const optimizer_options *options, const flat_params *on)
{
    size_t sum = 0;
    for (size_t i = 0; i < on->param_count; i++) {
        const matrices s = matrices_of(&on->params[i]);
        sum += square_floats(&s);
        if (options->value[BETA1][0] != OPTIMIZER_NONE) sum += (size_t)shape_count(&on->params[i].shape);
    }
    return sum;
}

/* One param's step. */
typedef struct factor_step {
    const optimizer_update *u;
    matrices shape;
    float *value;              /* [blocks, rows, columns] */
    const float *grads;        /* the same */
    float *row, *column;       /* [blocks, rows], [blocks, columns]; of a vector `row` is v */
    float *m;                  /* as value; or NULL */
    float shrink, rate, decay; /* what u is divided by, and multiplied with; what p changes by itself */
} factor_step;

static double mean_square(const float *x, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)x[i] * (double)x[i];
    return sum / (double)count;
}

static double mean(const float *x, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)x[i];
    return sum / (double)count;
}

/* The mean of g^2 + e1 over `count` elements, one every `stride`. */
static float mean_of_squares(const float *grads, size_t count, size_t stride, float scale, float least)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        const float g = grads[i * stride] * scale;
        sum += (double)(g * g + least);
    }
    return (float)(sum / (double)count);
}

static void update_squares(const factor_step *f)
{
    const double(*argument)[2] = f->u->options->value;
    const double b = 1 - pow((double)f->u->step, argument[DECAY_RATE][0]);
    const float keep = (float)b, rest = (float)(1 - b), least = (float)argument[EPS][0], scale = f->u->scale;
    const matrices *s = &f->shape;
    if (!s->factored)
        for (size_t i = 0; i < s->columns; i++)
            f->row[i] = keep * f->row[i] + rest * mean_of_squares(f->grads + i, 1, 1, scale, least);
    for (size_t k = 0; k < s->blocks && s->factored; k++) {
        const float *grads = f->grads + k * s->rows * s->columns;
        float *row = f->row + k * s->rows, *column = f->column + k * s->columns;
        for (size_t i = 0; i < s->rows; i++)
            row[i] = keep * row[i] + rest * mean_of_squares(grads + i * s->columns, s->columns, 1, scale, least);
        for (size_t j = 0; j < s->columns; j++)
            column[j] = keep * column[j] + rest * mean_of_squares(grads + j, s->rows, s->columns, scale, least);
    }
}

typedef void update_taker(const factor_step *f, size_t at, float update);

/* Each element's u, for `take` (which may be NULL); the sum of their squares. */
static double each_update(const factor_step *f, update_taker *take)
{
    const matrices *s = &f->shape;
    double squares = 0;
    for (size_t k = 0; k < s->blocks; k++) {
        const float *row = f->row + k * s->rows, *column = s->factored ? f->column + k * s->columns : f->row;
        const float whole = s->factored ? (float)mean(row, s->rows) : 1;
        for (size_t i = 0; i < s->rows; i++) {
            const float by_row = s->factored ? 1 / sqrtf(row[i] / whole) : 1;
            for (size_t j = 0; j < s->columns; j++) {
                const size_t at = (k * s->rows + i) * s->columns + j;
                const float update = by_row * (1 / sqrtf(column[j])) * (f->grads[at] * f->u->scale);
                squares += (double)update * (double)update;
                if (take) take(f, at, update);
            }
        }
    }
    return squares;
}

static void apply(const factor_step *f, size_t at, float update)
{
    const double beta1 = f->u->options->value[BETA1][0];
    float along = update / f->shrink * f->rate;
    if (f->m) along = f->m[at] = (float)beta1 * f->m[at] + (float)(1 - beta1) * along;
    f->value[at] += f->decay * f->value[at];
    f->value[at] -= along;
}

static double rate_of(const factor_step *f, size_t count)
{
    const double(*argument)[2] = f->u->options->value;
    const double n = (double)f->u->step;
    double rate = f->u->lr;
    if (argument[RELATIVE_STEP][0] != 0) rate = fmin(argument[WARMUP_INIT][0] != 0 ? 1e-6 * n : 1e-2, 1 / sqrt(n));
    if (argument[SCALE_PARAMETER][0] != 0) rate *= fmax(argument[EPS][1], sqrt(mean_square(f->value, count)));
    return rate;
}

static void step(const optimizer_update *u)
{
    const double(*argument)[2] = u->options->value;
    float *state = u->state;
    for (size_t i = 0; i < u->on.param_count; i++) {
        const param *p = &u->on.params[i];
        const size_t count = (size_t)shape_count(&p->shape);
        factor_step f = {.u = u, .shape = matrices_of(p), .value = p->value, .row = state};
        f.grads = u->grads + (f.value - u->on.values);
        f.column = f.row + f.shape.blocks * f.shape.rows;
        state += square_floats(&f.shape);
        if (argument[BETA1][0] != OPTIMIZER_NONE) {
            f.m = state;
            state += count;
        }
        const double rate = rate_of(&f, count);
        update_squares(&f);
        f.rate = (float)rate;
        f.decay = (float)(-argument[WEIGHT_DECAY][0] * rate);
        f.shrink = (float)fmax(1, sqrt(each_update(&f, NULL) / (double)count) / argument[CLIP_THRESHOLD][0]);
        each_update(&f, apply);
    }
}

#define LEAST_EPS 1e-37

const optimizer_row optimizer_adafactor = {
    .name = "adafactor",
    .argument = {[EPS] = {"eps", ARGUMENT_PAIR, {1e-30, 1e-3}, LEAST_EPS, 1},
                 [CLIP_THRESHOLD] = {"clip_threshold", ARGUMENT_NUMBER, {1}, 1e-6, 1e6},
                 [DECAY_RATE] = {"decay_rate", ARGUMENT_NUMBER, {-0.8}, -10, 0},
                 [BETA1] = {"beta1", ARGUMENT_OPTIONAL, {OPTIMIZER_NONE}, 0, 1},
                 [WEIGHT_DECAY] = {"weight_decay", ARGUMENT_NUMBER, {0}, 0, 10},
                 [SCALE_PARAMETER] = {"scale_parameter", ARGUMENT_FLAG, {1}, 0, 0},
                 [RELATIVE_STEP] = {"relative_step", ARGUMENT_FLAG, {1}, 0, 0},
                 [WARMUP_INIT] = {"warmup_init", ARGUMENT_FLAG, {0}, 0, 0}},
    .check = check,
    .state_floats = state_floats,
    .step = step,
    .own_rate = own_rate};
