/* layer_norm and its gradient: one row at a time, which stays in the first-level cache between its passes. */
#include <math.h>

#include "backend/cpu/isa/loop.h"

INLINE float row_sum(const void *x, dtype type, size_t at, size_t width)
{
    vec s[2] = {vec_zero(), vec_zero()};
    size_t i = 0;
    for (; i + 2 * VEC <= width; i += 2 * VEC) {
        s[0] += vec_load(x, type, at + i);
        s[1] += vec_load(x, type, at + i + VEC);
    }
    for (; i < width; i += VEC) s[0] += vec_load_part(x, type, at + i, width - i < VEC ? width - i : VEC);
    return vec_sum(s[0] + s[1]);
}

INLINE float row_square(const void *x, dtype type, size_t at, size_t width, float mean)
{
    vec s[2] = {vec_zero(), vec_zero()};
    size_t i = 0;
    for (; i + 2 * VEC <= width; i += 2 * VEC) {
        vec a = vec_load(x, type, at + i) - mean, b = vec_load(x, type, at + i + VEC) - mean;
        s[0] += a * a;
        s[1] += b * b;
    }
    float tail = 0;
    for (; i + VEC <= width; i += VEC) {
        vec a = vec_load(x, type, at + i) - mean;
        s[0] += a * a;
    }
    if (i < width) { /* the lanes beyond the row would count as (0 - mean)^2 */
        vec a = vec_load_part(x, type, at + i, width - i) - mean;
        for (size_t k = 0; k < width - i; k++) tail += a[k] * a[k];
    }
    return vec_sum(s[0] + s[1]) + tail;
}

typedef struct row {
    const void *x, *dy, *add, *gamma, *beta;
    void *y;
    size_t at;
    float mean, rstd, average, slope;
    dtype type;
} row;

INLINE void forward_body(const void *context, size_t i, size_t count)
{
    const row *p = context;
    vec x = vec_load_part(p->x, p->type, p->at + i, count), gamma = vec_load_part(p->gamma, p->type, i, count);
    vec y = (x - p->mean) * p->rstd * gamma + vec_load_part(p->beta, p->type, i, count);
    vec_store_part(p->y, p->type, p->at + i, y, count);
}

static int layer_norm_threads(const kernel_args *args)
{
    return parallel_threads(2 * size_count(args->node->output[0]));
}

INLINE void layer_norm_part(const kernel_args *args, dtype type, int part, int parts)
{
    const tensor *x = args->node->input[0];
    size_t width = size_last(x), from, to;
    float *statistics = args->output[1];
    parallel_range(size_rows(x), 1, part, parts, &from, &to);
    for (size_t r = from; r < to; r++) {
        row p = {.x = args->input[0], .gamma = args->input[1], .beta = args->input[2], .y = args->output[0]};
        p.type = type;
        p.at = r * width;
        p.mean = row_sum(p.x, type, p.at, width) / (float)width;
        p.rstd = 1.0f / sqrtf(row_square(p.x, type, p.at, width, p.mean) / (float)width + args->node->attr.eps);
        if (statistics) {
            statistics[2 * r] = p.mean;
            statistics[2 * r + 1] = p.rstd;
        }
        loop_each(0, width, forward_body, &p);
    }
}

ISA_KERNEL(layer_norm)

/* ---- gradient: dx = rstd (gamma dy - avg(gamma dy) - xhat avg(gamma dy xhat)) + add ---- */

enum { IN_DY, IN_X, IN_GAMMA, IN_STATS, IN_ADD };

INLINE void gradient_sums(const row *p, vec *first, vec *second, size_t i, size_t count)
{
    vec g = vec_load_part(p->dy, p->type, p->at + i, count) * vec_load_part(p->gamma, p->type, i, count);
    vec xhat = (vec_load_part(p->x, p->type, p->at + i, count) - p->mean) * p->rstd;
    *first += g;
    *second += g * xhat; /* lanes beyond the row have g = 0 */
}

INLINE void gradient_body(const void *context, size_t i, size_t count)
{
    const row *p = context;
    vec g = vec_load_part(p->dy, p->type, p->at + i, count) * vec_load_part(p->gamma, p->type, i, count);
    vec xhat = (vec_load_part(p->x, p->type, p->at + i, count) - p->mean) * p->rstd;
    vec dx = p->rstd * (g - p->average - xhat * p->slope);
    if (p->add) dx += vec_load_part(p->add, p->type, p->at + i, count);
    vec_store_part(p->y, p->type, p->at + i, dx, count);
}

#define layer_norm_dx_threads layer_norm_threads

INLINE void layer_norm_dx_part(const kernel_args *args, dtype type, int part, int parts)
{
    const tensor *x = args->node->input[IN_X];
    size_t width = size_last(x), from, to;
    const float *statistics = args->input[IN_STATS];
    parallel_range(size_rows(x), 1, part, parts, &from, &to);
    for (size_t r = from; r < to; r++) {
        row p = {.x = args->input[IN_X], .dy = args->input[IN_DY], .gamma = args->input[IN_GAMMA]};
        p.add = args->input[IN_ADD];
        p.y = args->output[0];
        p.type = type;
        p.at = r * width;
        p.mean = statistics[2 * r];
        p.rstd = statistics[2 * r + 1];
        vec first = vec_zero(), second = vec_zero();
        size_t i = 0;
        for (; i + VEC <= width; i += VEC) gradient_sums(&p, &first, &second, i, VEC);
        if (i < width) gradient_sums(&p, &first, &second, i, width - i);
        p.average = vec_sum(first) / (float)width;
        p.slope = vec_sum(second) / (float)width;
        loop_each(0, width, gradient_body, &p);
    }
}

ISA_KERNEL(layer_norm_dx)
