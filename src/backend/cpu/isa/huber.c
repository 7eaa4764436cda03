/* The pseudo-Huber loss and its gradient. sqrt(d^2 + c^2) - c is computed as d^2 / (sqrt(d^2 + c^2) + c), which loses
 * no digits. */
#include <math.h>

#include "backend/cpu/isa/loop.h"

/* What a loop over elements reads. */
typedef struct huber_pair {
    const void *x, *target;
    void *dx;
    dtype type, target_type;
    float c, scale;
} huber_pair;

INLINE vec root(vec x)
{
    for (int i = 0; i < VEC; i++) x[i] = sqrtf(x[i]);
    return x;
}

/* A fixed partition, so that the sum does not depend on the number of threads. */
#define CHUNK 4096

static leco_status huber_plan(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    (void)err;
    plan->scratch_bytes = (size_count(at->node->input[0]) / CHUNK + 1) * sizeof(double);
    return LECO_OK;
}

static int huber_threads(const kernel_args *args)
{
    return parallel_threads(size_count(args->node->input[0]));
}

INLINE double huber_chunk(const huber_pair *p, size_t from, size_t to)
{
    vec sum = vec_zero();
    for (size_t i = from; i < to; i += VEC) {
        const size_t count = to - i < VEC ? to - i : VEC;
        const vec d = vec_load_part(p->x, p->type, i, count) - vec_load_part(p->target, p->target_type, i, count);
        sum += d * d / (root(d * d + p->c * p->c) + p->c);
    }
    return (double)vec_sum(sum);
}

INLINE huber_pair huber_pair_of(const kernel_args *args, dtype type)
{
    return (huber_pair){.x = args->input[0],
                        .target = args->input[1],
                        .dx = args->output[0],
                        .type = type,
                        .target_type = type,
                        .c = *(const float *)args->input[2]};
}

INLINE void huber_part(const kernel_args *args, dtype type, int part, int parts)
{
    const size_t count = size_count(args->node->input[0]), chunks = (count + CHUNK - 1) / CHUNK;
    size_t from, to;
    double *partial = args->scratch;
    huber_pair p = huber_pair_of(args, type);
    parallel_range(chunks, 1, part, parts, &from, &to);
    for (size_t k = from; k < to; k++) {
        const size_t first = k * CHUNK, last = first + CHUNK < count ? first + CHUNK : count;
        if (args->node->input[1]->type == type) {
            p.target_type = type;
            partial[k] = huber_chunk(&p, first, last);
        } else {
            p.target_type = DTYPE_F32;
            partial[k] = huber_chunk(&p, first, last);
        }
    }
#pragma omp barrier
    if (part != 0) return;
    double total = 0;
    for (size_t k = 0; k < chunks; k++) total += partial[k];
    *(float *)args->output[0] = (float)(2 * (double)p.c * total / (double)count);
}

ISA_KERNEL(huber, .plan = huber_plan)

INLINE void huber_dx_body(const void *context, size_t i, size_t count)
{
    const huber_pair *p = context;
    const vec d = vec_load_part(p->x, p->type, i, count) - vec_load_part(p->target, p->target_type, i, count);
    vec_store_part(p->dx, p->type, i, p->scale * d / root(d * d + p->c * p->c), count);
}

#define huber_dx_threads huber_threads

INLINE void huber_dx_part(const kernel_args *args, dtype type, int part, int parts)
{
    const size_t count = size_count(args->node->output[0]);
    size_t from, to;
    huber_pair p = huber_pair_of(args, type);
    parallel_range(count, 64, part, parts, &from, &to);
    p.scale = (float)(2.0 * (double)p.c / (double)count);
    if (args->input[3]) p.scale *= *(const float *)args->input[3];
    if (args->node->input[1]->type == type) {
        loop_each(from, to, huber_dx_body, &p);
    } else {
        p.target_type = DTYPE_F32;
        loop_each(from, to, huber_dx_body, &p);
    }
}

ISA_KERNEL(huber_dx)
