/* What adapters compute beside linear and conv2d: product, swap, row_norms, affine with its gradient, multiply. Sums
 * are taken in the same order whatever the number of threads. */
#include <math.h>

#include "backend/cpu/isa/loop.h"

/* ---- product: f32, whatever the graph computes in ---- */

#define BLOCK 128 /* columns of the result at a time, whose sums stay in the first cache */

static int product_threads(const kernel_args *args)
{
    return parallel_threads(size_count(args->node->output[0]) * (size_t)args->node->attr.depth);
}

/* sum [count] = row (its elements `step` apart) times columns [from, from + count) of right [depth,columns]. */
INLINE void row_times(float *restrict sum, const float *row, size_t step, const float *right, size_t depth,
                      size_t columns, size_t from, size_t count)
{
    for (size_t j = 0; j < count; j++) sum[j] = 0;
    for (size_t k = 0; k < depth; k++) {
        const float factor = row[k * step];
        const float *restrict line = right + k * columns + from;
        for (size_t j = 0; j < count; j++) sum[j] += factor * line[j];
    }
}

INLINE float dot(const float *a, const float *b, size_t count)
{
    vec sum = vec_zero();
    size_t k = 0;
    for (; k + VEC <= count; k += VEC) sum += vec_load(a, DTYPE_F32, k) * vec_load(b, DTYPE_F32, k);
    if (k < count) sum += vec_load_part(a, DTYPE_F32, k, count - k) * vec_load_part(b, DTYPE_F32, k, count - k);
    return vec_sum(sum);
}

INLINE void product_part(const kernel_args *args, dtype type, int part, int parts)
{
    (void)type;
    const node *n = args->node;
    const float *left = args->input[0], *right = args->input[1], *add = args->input[2];
    const size_t depth = (size_t)n->attr.depth, rows = size_count(n->input[0]) / depth;
    const size_t columns = size_count(n->input[1]) / depth, blocks = (columns + BLOCK - 1) / BLOCK;
    float *y = args->output[0], sum[BLOCK];
    size_t first, last;
    parallel_range(rows * blocks, 1, part, parts, &first, &last);
    for (size_t k = first; k < last; k++) {
        const size_t row = k / blocks, from = k % blocks * BLOCK;
        const size_t count = columns - from < BLOCK ? columns - from : BLOCK;
        const float *of_left = left + (n->attr.turned[0] ? row : row * depth);
        if (n->attr.turned[1])
            for (size_t j = 0; j < count; j++) sum[j] = dot(of_left, right + (from + j) * depth, depth);
        else
            row_times(sum, of_left, n->attr.turned[0] ? rows : 1, right, depth, columns, from, count);
        for (size_t j = 0; j < count; j++) {
            const size_t at = row * columns + from + j;
            y[at] = add ? n->attr.scale * sum[j] + add[at] : n->attr.scale * sum[j];
        }
    }
}

ISA_KERNEL(product)

/* ---- swap ---- */

static int swap_threads(const kernel_args *args)
{
    return parallel_threads(size_count(args->node->output[0]));
}

INLINE void swap_part(const kernel_args *args, dtype type, int part, int parts)
{
    (void)type;
    const int64_t *dim = args->node->attr.dim;
    const size_t c_count = (size_t)dim[1], b_count = (size_t)dim[2], d_count = (size_t)dim[3];
    const float *x = args->input[0];
    float *y = args->output[0];
    size_t from, to;
    parallel_range((size_t)dim[0] * b_count, 1, part, parts, &from, &to);
    for (size_t k = from; k < to; k++) { /* of y: [a,b] */
        const size_t a = k / b_count, b = k % b_count;
        for (size_t c = 0; c < c_count; c++)
            memcpy(y + (k * c_count + c) * d_count, x + ((a * c_count + c) * b_count + b) * d_count,
                   d_count * sizeof *y);
    }
}

ISA_KERNEL(swap)

/* ---- row_norms ---- */

static int row_norms_threads(const kernel_args *args)
{
    return parallel_threads(size_count(args->node->input[0]));
}

/* The square of elements [from, to) of row `row` of W + scale * up down. */
INLINE float squares(const kernel_args *args, dtype type, size_t row, size_t from, size_t to)
{
    const node *n = args->node;
    const size_t columns = size_count(n->input[0]) / size_dim(n->input[0], 0), rank = size_dim(n->input[2], 0);
    const float *up = (const float *)args->input[1] + row * rank, *down = args->input[2];
    vec sum = vec_zero();
    for (size_t k = from; k < to; k += VEC) {
        const size_t count = to - k < VEC ? to - k : VEC;
        vec change = vec_zero();
        for (size_t r = 0; r < rank; r++) change += up[r] * vec_load_part(down, DTYPE_F32, r * columns + k, count);
        const vec value = vec_load_part(args->input[0], type, row * columns + k, count) + n->attr.scale * change;
        sum += value * value;
    }
    return vec_sum(sum);
}

INLINE void row_norms_part(const kernel_args *args, dtype type, int part, int parts)
{
    const node *n = args->node;
    const size_t rows = size_dim(n->input[0], 0), in = size_dim(n->input[0], 1);
    const size_t columns = size_count(n->input[0]) / rows, taps = columns / in;
    float *q = args->output[0];
    size_t from, to;
    parallel_range(size_count(n->output[0]), 1, part, parts, &from, &to);
    for (size_t i = from; i < to; i++) {
        float sum = 0;
        if (n->attr.by_column)
            for (size_t row = 0; row < rows; row++) sum += squares(args, type, row, i * taps, (i + 1) * taps);
        else
            sum = squares(args, type, i, 0, columns);
        q[i] = 1 / sqrtf(sum);
    }
}

ISA_KERNEL(row_norms)

/* ---- affine ---- */

static int affine_threads(const kernel_args *args)
{
    return parallel_threads(size_count(args->node->output[0]));
}

typedef struct row_map {
    const kernel_args *args;
    size_t at; /* of the row */
    dtype type;
} row_map;

INLINE void affine_body(const void *context, size_t i, size_t count)
{
    const row_map *p = context;
    const kernel_args *args = p->args;
    const node_attr *attr = &args->node->attr;
    vec factor = vec_set(attr->offset);
    if (args->input[1]) factor += attr->scale * vec_load_part(args->input[1], DTYPE_F32, i, count);
    vec y = factor * vec_load_part(args->input[0], p->type, p->at + i, count);
    if (args->input[2]) y += vec_load_part(args->input[2], p->type, i, count);
    if (args->input[3]) y += vec_load_part(args->input[3], p->type, p->at + i, count);
    vec_store_part(args->output[0], p->type, p->at + i, y, count);
}

INLINE void affine_part(const kernel_args *args, dtype type, int part, int parts)
{
    const tensor *y = args->node->output[0];
    size_t width = size_last(y), from, to;
    parallel_range(size_rows(y), 1, part, parts, &from, &to);
    for (size_t r = from; r < to; r++) {
        const row_map p = {args, r * width, type};
        loop_each(0, width, affine_body, &p);
    }
}

ISA_KERNEL(affine)

static int affine_dv_threads(const kernel_args *args)
{
    return parallel_threads(size_count(args->node->input[0]));
}

/* Rows are summed in blocks, so that a large image does not swamp the f32 accumulator. */
INLINE vec row_sum(const kernel_args *args, dtype type, size_t at, size_t stride, size_t rows, size_t count)
{
    vec total = vec_zero();
    for (size_t r = 0; r < rows;) {
        const size_t end = r + 64 < rows ? r + 64 : rows;
        vec sum = vec_zero();
        for (; r < end; r++)
            sum += vec_load_part(args->input[0], type, at + r * stride, count) *
                   vec_load_part(args->input[1], type, at + r * stride, count);
        total += sum;
    }
    return total;
}

INLINE void affine_dv_part(const kernel_args *args, dtype type, int part, int parts)
{
    const tensor *x = args->node->input[1];
    const size_t width = size_last(x), rows = size_rows(x);
    size_t from, to;
    parallel_range(width, VEC, part, parts, &from, &to);
    for (size_t c = from; c < to; c += VEC) {
        const size_t count = to - c < VEC ? to - c : VEC;
        vec sum = args->node->attr.scale * row_sum(args, type, c, width, rows, count);
        if (args->input[2]) sum += vec_load_part(args->input[2], DTYPE_F32, c, count);
        vec_store_part(args->output[0], DTYPE_F32, c, sum, count);
    }
}

ISA_KERNEL(affine_dv)

/* ---- multiply ---- */

static int multiply_threads(const kernel_args *args)
{
    return parallel_threads(size_count(args->node->output[0]));
}

INLINE void multiply_body(const void *context, size_t i, size_t count)
{
    const row_map *p = context;
    const kernel_args *args = p->args;
    const vec a = vec_load_part(args->input[0], p->type, i, count);
    vec_store_part(args->output[0], p->type, i, a * vec_load_part(args->input[1], p->type, i, count), count);
}

/* Its tensors may be f32 in a bf16 graph. */
INLINE void multiply_part(const kernel_args *args, dtype type, int part, int parts)
{
    const tensor *y = args->node->output[0];
    size_t from, to;
    parallel_range(size_count(y), VEC, part, parts, &from, &to);
    const row_map computed = {args, 0, type}, exact = {args, 0, DTYPE_F32};
    if (y->type == type)
        loop_each(from, to, multiply_body, &computed);
    else
        loop_each(from, to, multiply_body, &exact);
}

ISA_KERNEL(multiply)
