/* group_norm and layer_norm with their gradients. A norm's group is read whole before any of it is written, so
 * the output may take over x (forward) or add (gradient). */
#include <math.h>

#include "backend/ref/kernels/functions.h"
#include "backend/ref/kernels/kernel.h"

/* Where one group lies: `runs` runs of `length` neighbours, `stride` elements apart, from `start` on. Its channels are
 * [channel, channel + length). A layer norm's row is one run. */
typedef struct span {
    int64_t start, runs, length, stride, channel;
} span;

static void mean_and_rstd(const real *x, span s, double eps, double *mean, double *rstd)
{
    double count = (double)(s.runs * s.length), sum = 0, squares = 0;
    for (int64_t r = 0; r < s.runs; r++) {
        for (int64_t c = 0; c < s.length; c++) sum += (double)x[s.start + r * s.stride + c];
    }
    *mean = sum / count;
    for (int64_t r = 0; r < s.runs; r++) {
        for (int64_t c = 0; c < s.length; c++) {
            double d = (double)x[s.start + r * s.stride + c] - *mean;
            squares += d * d;
        }
    }
    *rstd = 1 / sqrt(squares / count + eps);
}

static void normalise(const kernel_args *a, span s, int64_t index)
{
    const real *x = a->input[0], *gamma = a->input[1], *beta = a->input[2];
    real *y = a->output[0], *statistics = a->output[1];
    double mean, rstd;
    mean_and_rstd(x, s, (double)a->node->attr.eps, &mean, &rstd);
    for (int64_t r = 0; r < s.runs; r++) {
        for (int64_t c = 0; c < s.length; c++) {
            int64_t at = s.start + r * s.stride + c;
            double n = (double)gamma[s.channel + c] * ((double)x[at] - mean) * rstd + (double)beta[s.channel + c];
            y[at] = (real)(a->node->attr.silu ? silu(n) : n);
        }
    }
    if (statistics != NULL) {
        statistics[2 * index] = (real)mean;
        statistics[2 * index + 1] = (real)rstd;
    }
}

/* The operands of a norm's gradient. */
typedef struct norm_gradient {
    const real *dy, *x, *gamma, *beta, *add; /* beta only with SiLU */
    double mean, rstd;
    bool with_silu;
} norm_gradient;

/* z = (x - mean) rstd and the gradient with respect to z, of one element in channel c. */
static double gradient_of_z(const norm_gradient *d, int64_t at, int64_t c, double *z)
{
    *z = ((double)d->x[at] - d->mean) * d->rstd;
    double dn = (double)d->dy[at];
    if (d->with_silu) dn *= silu_derivative((double)d->gamma[c] * *z + (double)d->beta[c]);
    return dn * (double)d->gamma[c];
}

static void denormalise(const norm_gradient *d, span s, real *dx)
{
    double count = (double)(s.runs * s.length), average = 0, average_z = 0, z;
    for (int64_t r = 0; r < s.runs; r++) {
        for (int64_t c = 0; c < s.length; c++) {
            double dz = gradient_of_z(d, s.start + r * s.stride + c, s.channel + c, &z);
            average += dz / count;
            average_z += dz * z / count;
        }
    }
    for (int64_t r = 0; r < s.runs; r++) {
        for (int64_t c = 0; c < s.length; c++) {
            int64_t at = s.start + r * s.stride + c;
            double dz = gradient_of_z(d, at, s.channel + c, &z);
            double result = d->rstd * (dz - average - z * average_z);
            if (d->add != NULL) result += (double)d->add[at];
            dx[at] = (real)result;
        }
    }
}

static span group_span(const shape *x, int groups, int64_t n, int64_t group)
{
    int64_t channels = shape_last(x), positions = shape_rows(x) / x->dim[0], length = channels / groups;
    return (span){n * positions * channels + group * length, positions, length, channels, group * length};
}

static void run_group_norm(const kernel_args *a)
{
    const shape *x = &a->node->input[0]->shape;
    int groups = a->node->attr.groups;
    for (int64_t n = 0; n < x->dim[0]; n++) {
        for (int64_t i = 0; i < groups; i++) normalise(a, group_span(x, groups, n, i), n * groups + i);
    }
}

static void run_group_norm_dx(const kernel_args *a)
{
    const shape *x = &a->node->input[1]->shape;
    const real *statistics = a->input[4];
    int groups = a->node->attr.groups;
    norm_gradient d = {.dy = a->input[0], .x = a->input[1], .gamma = a->input[2], .beta = a->input[3]};
    d.add = a->input[5];
    d.with_silu = a->node->attr.silu;
    for (int64_t n = 0; n < x->dim[0]; n++) {
        for (int64_t i = 0; i < groups; i++) {
            d.mean = (double)statistics[2 * (n * groups + i)];
            d.rstd = (double)statistics[2 * (n * groups + i) + 1];
            denormalise(&d, group_span(x, groups, n, i), a->output[0]);
        }
    }
}

static span row_span(const shape *x, int64_t row)
{
    int64_t channels = shape_last(x);
    return (span){row * channels, 1, channels, channels, 0};
}

static void run_layer_norm(const kernel_args *a)
{
    const shape *x = &a->node->input[0]->shape;
    for (int64_t row = 0; row < shape_rows(x); row++) normalise(a, row_span(x, row), row);
}

static void run_layer_norm_dx(const kernel_args *a)
{
    const shape *x = &a->node->input[1]->shape;
    const real *statistics = a->input[3];
    norm_gradient d = {.dy = a->input[0], .x = a->input[1], .gamma = a->input[2], .add = a->input[4]};
    for (int64_t row = 0; row < shape_rows(x); row++) {
        d.mean = (double)statistics[2 * row];
        d.rstd = (double)statistics[2 * row + 1];
        denormalise(&d, row_span(x, row), a->output[0]);
    }
}

const kernel REF(group_norm) = {.run = run_group_norm};
const kernel REF(group_norm_dx) = {.run = run_group_norm_dx};
const kernel REF(layer_norm) = {.run = run_layer_norm};
const kernel REF(layer_norm_dx) = {.run = run_layer_norm_dx};
