/* Operators that treat every element alike: add, activation, geglu, their gradients, and mse. */
#include "backend/cpu/isa/loop.h"

/* Inputs and outputs as a loop sees them. All are read before anything is written at the same index, so an output may
 * share an input's memory. */
typedef struct pointwise {
    const void *a, *b;
    void *y;
    dtype type, b_type;
    activation act;
    float scale;
} pointwise;

/* ---- add ---- */

INLINE void add_body(const void *context, size_t i, size_t count)
{
    const pointwise *p = context;
    vec a = vec_load_part(p->a, p->type, i, count), b = vec_load_part(p->b, p->type, i, count);
    vec_store_part(p->y, p->type, i, a + b, count);
}

static int add_threads(const kernel_args *args)
{
    return parallel_threads(size_count(args->node->output[0]));
}

INLINE void add_part(const kernel_args *args, dtype type, int part, int parts)
{
    size_t from, to;
    parallel_range(size_count(args->node->output[0]), 64, part, parts, &from, &to);
    pointwise p = {.a = args->input[0], .b = args->input[1], .y = args->output[0], .type = type};
    loop_each(from, to, add_body, &p);
}

ISA_KERNEL(add)

/* ---- activation ---- */

INLINE vec act_value(vec x, activation act, int rough)
{
    vec density;
    if (act == ACT_SILU) return x * vec_sigmoid(x, rough);
    if (act == ACT_QUICK_GELU) return x * vec_sigmoid(1.702f * x, rough);
    return x * vec_normal(x, &density, rough);
}

INLINE vec act_slope(vec x, activation act, int rough)
{
    if (act == ACT_GELU) {
        vec density, phi = vec_normal(x, &density, rough);
        return phi + x * density;
    }
    float k = act == ACT_QUICK_GELU ? 1.702f : 1.0f;
    vec s = vec_sigmoid(k * x, rough);
    return s * (1.0f + k * x * (1.0f - s));
}

INLINE void activation_body(const void *context, size_t i, size_t count)
{
    const pointwise *p = context;
    vec x = vec_load_part(p->a, p->type, i, count);
    vec_store_part(p->y, p->type, i, act_value(x, p->act, p->type == DTYPE_BF16), count);
}

INLINE void activation_dx_body(const void *context, size_t i, size_t count)
{
    const pointwise *p = context;
    vec dy = vec_load_part(p->a, p->type, i, count), x = vec_load_part(p->b, p->type, i, count);
    vec_store_part(p->y, p->type, i, dy * act_slope(x, p->act, p->type == DTYPE_BF16), count);
}

INLINE void activation_each(const kernel_args *args, dtype type, int part, int parts, loop_body body)
{
    size_t from, to;
    parallel_range(size_count(args->node->output[0]), 64, part, parts, &from, &to);
    pointwise p = {.a = args->input[0], .b = args->input[1], .y = args->output[0], .type = type};
    switch (args->node->attr.act) { /* one loop for each, with the choice outside it */
    case ACT_SILU:
        p.act = ACT_SILU;
        loop_each(from, to, body, &p);
        break;
    case ACT_GELU:
        p.act = ACT_GELU;
        loop_each(from, to, body, &p);
        break;
    case ACT_QUICK_GELU:
        p.act = ACT_QUICK_GELU;
        loop_each(from, to, body, &p);
        break;
    }
}

static int activation_threads(const kernel_args *args)
{
    return parallel_threads(8 * size_count(args->node->output[0]));
}

INLINE void activation_part(const kernel_args *args, dtype type, int part, int parts)
{
    activation_each(args, type, part, parts, activation_body);
}

ISA_KERNEL(activation)

#define activation_dx_threads activation_threads

INLINE void activation_dx_part(const kernel_args *args, dtype type, int part, int parts)
{
    activation_each(args, type, part, parts, activation_dx_body);
}

ISA_KERNEL(activation_dx)

/* ---- geglu: a then b along a row of x ---- */

INLINE void geglu_body(const void *context, size_t i, size_t count)
{
    const pointwise *p = context;
    vec density, a = vec_load_part(p->a, p->type, i, count), b = vec_load_part(p->b, p->type, i, count);
    vec_store_part(p->y, p->type, i, a * b * vec_normal(b, &density, p->type == DTYPE_BF16), count);
}

static int geglu_threads(const kernel_args *args)
{
    return parallel_threads(8 * size_count(args->node->output[0]));
}

INLINE void geglu_part(const kernel_args *args, dtype type, int part, int parts)
{
    size_t width = size_last(args->node->output[0]), from, to;
    size_t size = type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
    parallel_range(size_rows(args->node->output[0]), 1, part, parts, &from, &to);
    for (size_t r = from; r < to; r++) {
        const char *x = (const char *)args->input[0] + r * 2 * width * size;
        pointwise p = {.a = x, .b = x + width * size, .y = (char *)args->output[0] + r * width * size, .type = type};
        loop_each(0, width, geglu_body, &p);
    }
}

ISA_KERNEL(geglu)

typedef struct geglu_rows {
    const void *dy, *a, *b;
    void *da, *db;
    dtype type;
} geglu_rows;

INLINE void geglu_dx_body(const void *context, size_t i, size_t count)
{
    const geglu_rows *p = context;
    vec dy = vec_load_part(p->dy, p->type, i, count);
    vec a = vec_load_part(p->a, p->type, i, count), b = vec_load_part(p->b, p->type, i, count);
    vec density, phi = vec_normal(b, &density, p->type == DTYPE_BF16);
    vec_store_part(p->da, p->type, i, dy * b * phi, count);
    vec_store_part(p->db, p->type, i, dy * a * (phi + b * density), count);
}

#define geglu_dx_threads geglu_threads

INLINE void geglu_dx_part(const kernel_args *args, dtype type, int part, int parts)
{
    size_t width = size_last(args->node->input[0]), from, to;
    size_t size = type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
    parallel_range(size_rows(args->node->input[0]), 1, part, parts, &from, &to);
    for (size_t r = from; r < to; r++) {
        const char *x = (const char *)args->input[1] + r * 2 * width * size;
        char *dx = (char *)args->output[0] + r * 2 * width * size;
        geglu_rows p = {.dy = (const char *)args->input[0] + r * width * size,
                        .a = x,
                        .b = x + width * size,
                        .da = dx,
                        .db = dx + width * size,
                        .type = type};
        loop_each(0, width, geglu_dx_body, &p);
    }
}

ISA_KERNEL(geglu_dx)

/* ---- mse ---- */

/* A fixed partition, so that the sum does not depend on the number of threads. */
#define MSE_CHUNK 4096

static leco_status mse_plan(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    (void)err;
    plan->scratch_bytes = (size_count(at->node->input[0]) / MSE_CHUNK + 1) * sizeof(double);
    return LECO_OK;
}

static int mse_threads(const kernel_args *args)
{
    return parallel_threads(size_count(args->node->input[0]));
}

INLINE double mse_chunk(const void *x, dtype x_type, const void *target, dtype target_type, size_t from, size_t to)
{
    vec sum = vec_zero();
    size_t i = from;
    for (; i + VEC <= to; i += VEC) {
        vec d = vec_load(x, x_type, i) - vec_load(target, target_type, i);
        sum += d * d;
    }
    if (i < to) {
        vec d = vec_load_part(x, x_type, i, to - i) - vec_load_part(target, target_type, i, to - i);
        sum += d * d;
    }
    return (double)vec_sum(sum);
}

INLINE void mse_part(const kernel_args *args, dtype type, int part, int parts)
{
    const tensor *x = args->node->input[0];
    size_t count = size_count(x), chunks = (count + MSE_CHUNK - 1) / MSE_CHUNK, from, to;
    double *partial = args->scratch;
    parallel_range(chunks, 1, part, parts, &from, &to);
    for (size_t k = from; k < to; k++) {
        size_t first = k * MSE_CHUNK, last = first + MSE_CHUNK < count ? first + MSE_CHUNK : count;
        if (args->node->input[1]->type == type)
            partial[k] = mse_chunk(args->input[0], type, args->input[1], type, first, last);
        else
            partial[k] = mse_chunk(args->input[0], type, args->input[1], DTYPE_F32, first, last);
    }
#pragma omp barrier
    if (part != 0) return;
    double total = 0;
    for (size_t k = 0; k < chunks; k++) total += partial[k];
    *(float *)args->output[0] = (float)(total / (double)count);
}

ISA_KERNEL(mse, .plan = mse_plan)

INLINE void mse_dx_body(const void *context, size_t i, size_t count)
{
    const pointwise *p = context;
    vec x = vec_load_part(p->a, p->type, i, count), target = vec_load_part(p->b, p->b_type, i, count);
    vec_store_part(p->y, p->type, i, p->scale * (x - target), count);
}

#define mse_dx_threads add_threads

INLINE void mse_dx_part(const kernel_args *args, dtype type, int part, int parts)
{
    size_t count = size_count(args->node->output[0]), from, to;
    parallel_range(count, 64, part, parts, &from, &to);
    pointwise p = {.a = args->input[0],
                   .b = args->input[1],
                   .y = args->output[0],
                   .type = type,
                   .scale = (float)(2.0 / (double)count)};
    if (args->input[2]) p.scale *= *(const float *)args->input[2];
    if (args->node->input[1]->type == type) {
        p.b_type = type;
        loop_each(from, to, mse_dx_body, &p);
    } else {
        p.b_type = DTYPE_F32;
        loop_each(from, to, mse_dx_body, &p);
    }
}

ISA_KERNEL(mse_dx)
