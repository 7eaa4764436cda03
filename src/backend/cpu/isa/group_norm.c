/* group_norm and its gradient.
 *
 * Two passes over the tensor. The first sums each channel over a chunk of rows, relative to the chunk's first row: a
 * large common offset would otherwise cancel all digits of the variance; chunks are then added up in doubles. The
 * second applies y = A x + B with the channel's two factors. Chunks do not depend on the number of threads, nor do
 * results. */
#include <math.h>

#include "backend/cpu/isa/loop.h"

#define CHUNK_ELEMENTS 32768
#define BLOCK (4 * VEC) /* channels summed at a time, in registers */

typedef struct problem {
    size_t samples, rows, channels, groups, chunk_rows, chunks;
    double *partial; /* [samples][chunks][groups][2] */
    float *factor;   /* [samples][FACTORS][channels] */
} problem;

/* Per channel: y = A x + B; the gradient's dx = A dz + C x + D, and the group's mean and 1/deviation. */
enum { FACTOR_A, FACTOR_B, FACTOR_C, FACTOR_D, FACTOR_MEAN, FACTOR_RSTD, FACTORS };

static problem problem_of(const node *n, const tensor *x, void *scratch)
{
    problem p = {.samples = size_dim(x, 0), .channels = size_last(x), .groups = (size_t)n->attr.groups};
    p.rows = size_rows(x) / p.samples;
    p.chunk_rows = CHUNK_ELEMENTS / p.channels > 16 ? CHUNK_ELEMENTS / p.channels : 16;
    p.chunks = (p.rows + p.chunk_rows - 1) / p.chunk_rows;
    p.partial = scratch;
    size_t partials = p.samples * p.chunks * p.groups * 2;
    p.factor = scratch ? (float *)(p.partial + partials) : NULL;
    return p;
}

static size_t problem_bytes(const node *n, const tensor *x)
{
    problem p = problem_of(n, x, NULL);
    return p.samples * (p.chunks * p.groups * 2 * sizeof(double) + FACTORS * p.channels * sizeof(float));
}

INLINE float *factor_of(const problem *p, size_t sample, int which)
{
    return p->factor + (sample * FACTORS + (size_t)which) * p->channels;
}

/* Adds a block's channel sums (as doubles) to the sums of the groups they belong to. */
static void add_to_groups(const problem *p, double *partial, size_t from, size_t count, const double *first,
                          const double *second)
{
    size_t width = p->channels / p->groups;
    for (size_t i = 0; i < count; i++) {
        size_t g = (from + i) / width;
        partial[2 * g] += first[i];
        partial[2 * g + 1] += second[i];
    }
}

/* ---- forward ---- */

/* Sum and sum of squares of `count` channels from c on over the rows of one chunk. */
INLINE void chunk_sums(const void *x, dtype type, size_t at, size_t stride, size_t rows, size_t count, double *sum,
                       double *square)
{
    vec base[4], s[4], q[4];
    for (size_t v = 0; v * VEC < count; v++) {
        size_t part = count - v * VEC < VEC ? count - v * VEC : VEC;
        base[v] = vec_load_part(x, type, at + v * VEC, part);
        s[v] = q[v] = vec_zero();
    }
    for (size_t r = 1; r < rows; r++) {
#pragma GCC unroll 4
        for (size_t v = 0; v * VEC < count; v++) {
            size_t part = count - v * VEC < VEC ? count - v * VEC : VEC;
            vec d = vec_load_part(x, type, at + r * stride + v * VEC, part) - base[v];
            s[v] += d;
            q[v] += d * d;
        }
    }
    for (size_t i = 0; i < count; i++) {
        double b = (double)base[i / VEC][i % VEC], d = (double)s[i / VEC][i % VEC];
        sum[i] = d + b * (double)rows;
        square[i] = (double)q[i / VEC][i % VEC] + 2 * b * d + b * b * (double)rows;
    }
}

INLINE void sum_chunk(const problem *p, const void *x, dtype type, size_t sample, size_t chunk)
{
    size_t first = chunk * p->chunk_rows, rows = p->rows - first < p->chunk_rows ? p->rows - first : p->chunk_rows;
    double *partial = p->partial + (sample * p->chunks + chunk) * p->groups * 2;
    double sum[BLOCK], square[BLOCK];
    memset(partial, 0, p->groups * 2 * sizeof *partial);
    size_t start = (sample * p->rows + first) * p->channels, c = 0;
    for (; c + BLOCK <= p->channels; c += BLOCK) {
        chunk_sums(x, type, start + c, p->channels, rows, BLOCK, sum, square);
        add_to_groups(p, partial, c, BLOCK, sum, square);
    }
    for (; c < p->channels; c += VEC) {
        size_t count = p->channels - c < VEC ? p->channels - c : VEC;
        if (count == VEC)
            chunk_sums(x, type, start + c, p->channels, rows, VEC, sum, square);
        else
            chunk_sums(x, type, start + c, p->channels, rows, count, sum, square);
        add_to_groups(p, partial, c, count, sum, square);
    }
}

/* The two totals of a group over a sample's chunks. */
static void group_totals(const problem *p, size_t sample, size_t group, double total[2])
{
    total[0] = total[1] = 0;
    for (size_t k = 0; k < p->chunks; k++) {
        const double *partial = p->partial + ((sample * p->chunks + k) * p->groups + group) * 2;
        total[0] += partial[0];
        total[1] += partial[1];
    }
}

INLINE void forward_factors(const problem *p, const kernel_args *args, dtype type, size_t sample, size_t group)
{
    size_t width = p->channels / p->groups, from = group * width;
    double total[2], count = (double)width * (double)p->rows;
    group_totals(p, sample, group, total);
    double mean = total[0] / count, variance = total[1] / count - mean * mean;
    double rstd = 1.0 / sqrt((variance > 0 ? variance : 0) + (double)args->node->attr.eps);
    if (!(variance == variance)) rstd = variance; /* a NaN must not look like a constant input */
    float *statistics = args->output[1];
    if (statistics) {
        statistics[2 * (sample * p->groups + group)] = (float)mean;
        statistics[2 * (sample * p->groups + group) + 1] = (float)rstd;
    }
    float *a = factor_of(p, sample, FACTOR_A), *b = factor_of(p, sample, FACTOR_B);
    for (size_t c = from; c < from + width; c++) {
        double gamma = type == DTYPE_BF16 ? (double)bf16_to_f32(((const bf16 *)args->input[1])[c])
                                          : (double)((const float *)args->input[1])[c];
        double beta = type == DTYPE_BF16 ? (double)bf16_to_f32(((const bf16 *)args->input[2])[c])
                                         : (double)((const float *)args->input[2])[c];
        a[c] = (float)(gamma * rstd);
        b[c] = (float)(beta - gamma * rstd * mean);
    }
}

typedef struct row {
    const void *x, *dy, *add;
    void *y;
    size_t at;
    const float *a, *b, *c, *d;
    dtype type;
    bool silu;
} row;

INLINE void forward_body(const void *context, size_t i, size_t count)
{
    const row *p = context;
    vec x = vec_load_part(p->x, p->type, p->at + i, count);
    vec z = vec_load_part(p->a, DTYPE_F32, i, count) * x + vec_load_part(p->b, DTYPE_F32, i, count);
    if (p->silu) z *= vec_sigmoid(z, p->type == DTYPE_BF16);
    vec_store_part(p->y, p->type, p->at + i, z, count);
}

INLINE void forward_rows(const problem *p, const kernel_args *args, dtype type, bool silu, size_t from, size_t to)
{
    for (size_t r = from; r < to; r++) {
        size_t sample = r / p->rows;
        row w = {.x = args->input[0], .y = args->output[0], .at = r * p->channels, .type = type, .silu = silu};
        w.a = factor_of(p, sample, FACTOR_A);
        w.b = factor_of(p, sample, FACTOR_B);
        loop_each(0, p->channels, forward_body, &w);
    }
}

static leco_status group_norm_plan(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    (void)err;
    plan->scratch_bytes = problem_bytes(at->node, at->node->input[0]);
    return LECO_OK;
}

static int group_norm_threads(const kernel_args *args)
{
    return parallel_threads(2 * size_count(args->node->output[0]));
}

INLINE void group_norm_part(const kernel_args *args, dtype type, int part, int parts)
{
    problem p = problem_of(args->node, args->node->input[0], args->scratch);
    size_t from, to;
    parallel_range(p.samples * p.chunks, 1, part, parts, &from, &to);
    for (size_t k = from; k < to; k++) sum_chunk(&p, args->input[0], type, k / p.chunks, k % p.chunks);
#pragma omp barrier
    parallel_range(p.samples * p.groups, 1, part, parts, &from, &to);
    for (size_t k = from; k < to; k++) forward_factors(&p, args, type, k / p.groups, k % p.groups);
#pragma omp barrier
    parallel_range(p.samples * p.rows, 1, part, parts, &from, &to);
    if (args->node->attr.silu)
        forward_rows(&p, args, type, true, from, to);
    else
        forward_rows(&p, args, type, false, from, to);
}

ISA_KERNEL(group_norm, .plan = group_norm_plan)

/* ---- gradient ----
 * With xhat = (x - mean) rstd, z = gamma xhat + beta, dz = dy (times SiLU'(z) where asked) and averages over the group:
 *     dx = rstd (gamma dz - avg(gamma dz) - xhat avg(gamma dz xhat)) + add  =  A dz + C x + D + add. */

enum { IN_DY, IN_X, IN_GAMMA, IN_BETA, IN_STATS, IN_ADD };

INLINE vec silu_slope(vec z, int rough)
{
    vec s = vec_sigmoid(z, rough);
    return s * (1.0f + z * (1.0f - s));
}

INLINE vec outer_gradient(const row *p, vec x, size_t i, size_t at, size_t count)
{
    vec dy = vec_load_part(p->dy, p->type, at, count);
    if (!p->silu) return dy;
    vec z = vec_load_part(p->a, DTYPE_F32, i, count) * x + vec_load_part(p->b, DTYPE_F32, i, count);
    return dy * silu_slope(z, p->type == DTYPE_BF16);
}

/* Sums of gamma dz and gamma dz xhat for `count` channels from c on over one chunk. */
INLINE void chunk_gradient_sums(const problem *p, const row *w, size_t sample, size_t at, size_t c, size_t rows,
                                size_t count, double *first, double *second)
{
    vec mean = vec_load_part(factor_of(p, sample, FACTOR_MEAN), DTYPE_F32, c, count);
    vec s = vec_zero(), q = vec_zero();
    for (size_t r = 0; r < rows; r++) {
        size_t here = at + r * p->channels + c;
        vec x = vec_load_part(w->x, w->type, here, count);
        vec dz = outer_gradient(w, x, c, here, count);
        s += dz;
        q += dz * (x - mean);
    }
    const float *a = factor_of(p, sample, FACTOR_A), *rstd = factor_of(p, sample, FACTOR_RSTD);
    for (size_t i = 0; i < count; i++) { /* A = gamma rstd */
        double gamma = rstd[c + i] != 0.0f ? (double)a[c + i] / (double)rstd[c + i] : 0.0;
        first[i] = gamma * (double)s[i];
        second[i] = (double)a[c + i] * (double)q[i];
    }
}

INLINE void sum_gradient_chunk(const problem *p, const row *w, size_t sample, size_t chunk)
{
    size_t start = chunk * p->chunk_rows, rows = p->rows - start < p->chunk_rows ? p->rows - start : p->chunk_rows;
    double *partial = p->partial + (sample * p->chunks + chunk) * p->groups * 2;
    double first[VEC], second[VEC];
    memset(partial, 0, p->groups * 2 * sizeof *partial);
    size_t at = (sample * p->rows + start) * p->channels, c = 0;
    for (; c + VEC <= p->channels; c += VEC) {
        chunk_gradient_sums(p, w, sample, at, c, rows, VEC, first, second);
        add_to_groups(p, partial, c, VEC, first, second);
    }
    if (c < p->channels) {
        chunk_gradient_sums(p, w, sample, at, c, rows, p->channels - c, first, second);
        add_to_groups(p, partial, c, p->channels - c, first, second);
    }
}

/* What the first pass needs: mean, 1/deviation, A and B. */
INLINE void gradient_start(const problem *p, const kernel_args *args, dtype type, size_t sample, size_t group)
{
    size_t width = p->channels / p->groups;
    const float *statistics = (const float *)args->input[IN_STATS] + 2 * (sample * p->groups + group);
    for (size_t c = group * width; c < (group + 1) * width; c++) {
        bool narrow = type == DTYPE_BF16;
        float gamma =
            narrow ? bf16_to_f32(((const bf16 *)args->input[IN_GAMMA])[c]) : ((const float *)args->input[IN_GAMMA])[c];
        float beta =
            narrow ? bf16_to_f32(((const bf16 *)args->input[IN_BETA])[c]) : ((const float *)args->input[IN_BETA])[c];
        factor_of(p, sample, FACTOR_MEAN)[c] = statistics[0];
        factor_of(p, sample, FACTOR_RSTD)[c] = statistics[1];
        factor_of(p, sample, FACTOR_A)[c] = gamma * statistics[1];
        factor_of(p, sample, FACTOR_B)[c] = beta - gamma * statistics[1] * statistics[0];
    }
}

static void gradient_finish(const problem *p, size_t sample, size_t group)
{
    size_t width = p->channels / p->groups, from = group * width;
    double total[2], count = (double)width * (double)p->rows;
    group_totals(p, sample, group, total);
    double mean = (double)factor_of(p, sample, FACTOR_MEAN)[from];
    double rstd = (double)factor_of(p, sample, FACTOR_RSTD)[from];
    double slope = -rstd * rstd * total[1] / count;
    double level = -rstd * total[0] / count - slope * mean;
    for (size_t c = from; c < from + width; c++) {
        factor_of(p, sample, FACTOR_C)[c] = (float)slope;
        factor_of(p, sample, FACTOR_D)[c] = (float)level;
    }
}

INLINE void gradient_body(const void *context, size_t i, size_t count)
{
    const row *p = context;
    vec x = vec_load_part(p->x, p->type, p->at + i, count);
    vec dz = outer_gradient(p, x, i, p->at + i, count);
    vec dx = vec_load_part(p->a, DTYPE_F32, i, count) * dz + vec_load_part(p->c, DTYPE_F32, i, count) * x +
             vec_load_part(p->d, DTYPE_F32, i, count);
    if (p->add) dx += vec_load_part(p->add, p->type, p->at + i, count);
    vec_store_part(p->y, p->type, p->at + i, dx, count);
}

INLINE void gradient_passes(const problem *p, row w, int part, int parts)
{
    size_t from, to;
    parallel_range(p->samples * p->chunks, 1, part, parts, &from, &to);
    for (size_t k = from; k < to; k++) {
        w.a = factor_of(p, k / p->chunks, FACTOR_A);
        w.b = factor_of(p, k / p->chunks, FACTOR_B);
        sum_gradient_chunk(p, &w, k / p->chunks, k % p->chunks);
    }
#pragma omp barrier
    parallel_range(p->samples * p->groups, 1, part, parts, &from, &to);
    for (size_t k = from; k < to; k++) gradient_finish(p, k / p->groups, k % p->groups);
#pragma omp barrier
    parallel_range(p->samples * p->rows, 1, part, parts, &from, &to);
    for (size_t r = from; r < to; r++) {
        w.at = r * p->channels;
        w.a = factor_of(p, r / p->rows, FACTOR_A);
        w.b = factor_of(p, r / p->rows, FACTOR_B);
        w.c = factor_of(p, r / p->rows, FACTOR_C);
        w.d = factor_of(p, r / p->rows, FACTOR_D);
        loop_each(0, p->channels, gradient_body, &w);
    }
}

static leco_status group_norm_dx_plan(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    (void)err;
    plan->scratch_bytes = problem_bytes(at->node, at->node->input[IN_X]);
    return LECO_OK;
}

#define group_norm_dx_threads group_norm_threads

INLINE void group_norm_dx_part(const kernel_args *args, dtype type, int part, int parts)
{
    problem p = problem_of(args->node, args->node->input[IN_X], args->scratch);
    size_t from, to;
    parallel_range(p.samples * p.groups, 1, part, parts, &from, &to);
    for (size_t k = from; k < to; k++) gradient_start(&p, args, type, k / p.groups, k % p.groups);
#pragma omp barrier
    row w = {.x = args->input[IN_X], .dy = args->input[IN_DY], .add = args->input[IN_ADD], .y = args->output[0]};
    w.type = type;
    w.silu = true;
    if (args->node->attr.silu) {
        gradient_passes(&p, w, part, parts);
    } else {
        w.silu = false;
        gradient_passes(&p, w, part, parts);
    }
}

ISA_KERNEL(group_norm_dx, .plan = group_norm_dx_plan)
