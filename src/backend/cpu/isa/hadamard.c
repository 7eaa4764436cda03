/* hadamard and the gradients of its factors. Columns of w are taken in blocks whose two products stay in the first
 * cache; w is read or written once. Everything is f32, whatever the graph computes in. */
#include "backend/cpu/isa/loop.h"

#define BLOCK 128 /* columns */

/* product [count] = row [rank] of `left` times columns [from, from + count) of right [rank,columns]. */
INLINE void row_product(float *restrict product, const float *left, const float *right, size_t rank, size_t columns,
                        size_t from, size_t count)
{
    for (size_t k = 0; k < count; k++) product[k] = 0;
    for (size_t r = 0; r < rank; r++) {
        const float *restrict row = right + r * columns + from;
        for (size_t k = 0; k < count; k++) product[k] += left[r] * row[k];
    }
}

INLINE size_t columns_of(const tensor *w)
{
    return size_count(w) / size_dim(w, 0);
}

static int hadamard_threads(const kernel_args *args)
{
    const node *n = args->node;
    return parallel_threads(size_count(n->output[0]) * (size_dim(n->input[1], 0) + size_dim(n->input[3], 0)));
}

INLINE void hadamard_part(const kernel_args *args, dtype type, int part, int parts)
{
    (void)type;
    const node *n = args->node;
    const float *a = args->input[0], *b = args->input[1], *c = args->input[2], *d = args->input[3];
    const size_t columns = columns_of(n->output[0]), first = size_last(n->input[0]), second = size_last(n->input[2]);
    float *w = args->output[0], left[BLOCK], right[BLOCK];
    size_t from, to;
    parallel_range(size_dim(n->output[0], 0), 1, part, parts, &from, &to);
    for (size_t at = 0; at < columns; at += BLOCK) {
        const size_t count = columns - at < BLOCK ? columns - at : BLOCK;
        for (size_t row = from; row < to; row++) {
            row_product(left, a + row * first, b, first, columns, at, count);
            row_product(right, c + row * second, d, second, columns, at, count);
            for (size_t k = 0; k < count; k++) w[row * columns + at + k] = n->attr.scale * left[k] * right[k];
        }
    }
}

ISA_KERNEL(hadamard)

/* ---- gradients ---- */

static int gradient_threads(const kernel_args *args)
{
    const node *n = args->node;
    return parallel_threads(size_count(n->input[0]) * (size_dim(n->input[3], 0) + size_dim(n->input[1], 1)));
}

/* e [count] = scale * dw * (c d), of one row. */
INLINE void masked(float *restrict e, const kernel_args *args, size_t row, size_t at, size_t count)
{
    const node *n = args->node;
    const size_t columns = columns_of(n->input[0]), rank = size_last(n->input[2]);
    const float *c = args->input[2], *dw = (const float *)args->input[0] + row * columns + at;
    row_product(e, c + row * rank, args->input[3], rank, columns, at, count);
    for (size_t k = 0; k < count; k++) e[k] *= n->attr.scale * dw[k];
}

/* Threads share the rows. Each sum is taken in the same order whatever their number. */
INLINE void hadamard_da_part(const kernel_args *args, dtype type, int part, int parts)
{
    (void)type;
    const node *n = args->node;
    const float *b = args->input[1], *add = args->input[4];
    const size_t columns = columns_of(n->input[0]), rank = size_dim(n->input[1], 0);
    float *da = args->output[0], e[BLOCK];
    size_t from, to;
    parallel_range(size_dim(n->input[0], 0), 1, part, parts, &from, &to);
    for (size_t row = from; row < to; row++) {
        for (size_t r = 0; r < rank; r++) da[row * rank + r] = add ? add[row * rank + r] : 0;
        for (size_t at = 0; at < columns; at += BLOCK) {
            const size_t count = columns - at < BLOCK ? columns - at : BLOCK;
            masked(e, args, row, at, count);
            for (size_t r = 0; r < rank; r++) {
                const float *other = b + r * columns + at;
                float sum = 0;
#pragma omp simd reduction(+ : sum)
                for (size_t k = 0; k < count; k++) sum += e[k] * other[k];
                da[row * rank + r] += sum;
            }
        }
    }
}

#define hadamard_da_threads gradient_threads
ISA_KERNEL(hadamard_da)

/* Threads share the columns. */
INLINE void hadamard_db_part(const kernel_args *args, dtype type, int part, int parts)
{
    (void)type;
    const node *n = args->node;
    const float *a = args->input[1], *add = args->input[4];
    const size_t columns = columns_of(n->input[0]), rows = size_dim(n->input[0], 0), rank = size_last(n->input[1]);
    float *db = args->output[0], e[BLOCK];
    size_t from, to;
    parallel_range(columns, BLOCK, part, parts, &from, &to);
    for (size_t at = from; at < to; at += BLOCK) {
        const size_t count = to - at < BLOCK ? to - at : BLOCK;
        for (size_t r = 0; r < rank; r++)
            for (size_t k = 0; k < count; k++) db[r * columns + at + k] = add ? add[r * columns + at + k] : 0;
        for (size_t row = 0; row < rows; row++) {
            masked(e, args, row, at, count);
            for (size_t r = 0; r < rank; r++)
                for (size_t k = 0; k < count; k++) db[r * columns + at + k] += a[row * rank + r] * e[k];
        }
    }
}

#define hadamard_db_threads gradient_threads
ISA_KERNEL(hadamard_db)
