/* LoHa's weight, scale * (a b) * (c d) element by element, and the gradients of its factors, in f32. The gradients sum
 * masked(i, k) = scale * dw[i,k] * (c d)[i,k], eight ranks at a time. */
#include "backend/cuda/hadamard.h"

#include "backend/cuda/device.cuh"

enum { THREADS = 256, RANKS = 8 };

DEVICE float product_at(const float *left, const float *right, int64_t rank, int64_t columns, int64_t row,
                        int64_t column)
{
    float sum = 0;
    for (int64_t r = 0; r < rank; r++) sum += left[row * rank + r] * right[r * columns + column];
    return sum;
}

__global__ void __launch_bounds__(THREADS)
    hadamard_kernel(hadamard_shape s, const float *a, const float *b, const float *c, const float *d, float *w)
{
    for (int64_t i = first_index(); i < s.rows * s.columns; i += index_step()) {
        const int64_t row = i / s.columns, column = i % s.columns;
        w[i] = s.scale * product_at(a, b, s.first, s.columns, row, column) *
               product_at(c, d, s.second, s.columns, row, column);
    }
}

DEVICE float masked_at(const hadamard_shape &s, const float *dw, const float *c, const float *d, int64_t i, int64_t k)
{
    return s.scale * dw[i * s.columns + k] * product_at(c, d, s.second, s.columns, i, k);
}

/* A block has one row of da and eight of its ranks. */
__global__ void __launch_bounds__(THREADS)
    hadamard_da_kernel(hadamard_shape s, const float *dw, const float *b, const float *c, const float *d,
                       const float *add, float *da)
{
    __shared__ float room[32];
    const int64_t i = blockIdx.x, first = (int64_t)blockIdx.y * RANKS;
    float sum[RANKS] = {};
    for (int64_t k = threadIdx.x; k < s.columns; k += THREADS) {
        const float masked = masked_at(s, dw, c, d, i, k);
        UNROLL
        for (int r = 0; r < RANKS; r++)
            if (first + r < s.first) sum[r] += masked * b[(first + r) * s.columns + k];
    }
    UNROLL
    for (int r = 0; r < RANKS; r++) {
        const float all = block_sum(sum[r], room);
        const int64_t at = i * s.first + first + r;
        if (threadIdx.x == 0 && first + r < s.first) da[at] = add ? all + add[at] : all;
    }
}

/* A thread has one column of db and eight of its ranks. */
__global__ void __launch_bounds__(THREADS)
    hadamard_db_kernel(hadamard_shape s, const float *dw, const float *a, const float *c, const float *d,
                       const float *add, float *db)
{
    const int64_t k = first_index(), first = (int64_t)blockIdx.y * RANKS;
    if (k >= s.columns) return;
    float sum[RANKS] = {};
    for (int64_t i = 0; i < s.rows; i++) {
        const float masked = masked_at(s, dw, c, d, i, k);
        UNROLL
        for (int r = 0; r < RANKS; r++)
            if (first + r < s.first) sum[r] += masked * a[i * s.first + first + r];
    }
    UNROLL
    for (int r = 0; r < RANKS; r++) {
        const int64_t at = (first + r) * s.columns + k;
        if (first + r < s.first) db[at] = add ? sum[r] + add[at] : sum[r];
    }
}

void launch_hadamard(const hadamard_shape *s, const float *a, const float *b, const float *c, const float *d, float *w)
{
    LAUNCH(hadamard_kernel, blocks_for(s->rows * s->columns, THREADS), THREADS, 0, *s, a, b, c, d, w);
}

/* How often eight ranks are taken. */
static unsigned rank_blocks(const hadamard_shape *s)
{
    return (unsigned)((s->first + RANKS - 1) / RANKS);
}

void launch_hadamard_da(const hadamard_shape *s, const float *dw, const float *b, const float *c, const float *d,
                        const float *add, float *da)
{
    LAUNCH(hadamard_da_kernel, dim3((unsigned)s->rows, rank_blocks(s)), THREADS, 0, *s, dw, b, c, d, add, da);
}

void launch_hadamard_db(const hadamard_shape *s, const float *dw, const float *a, const float *c, const float *d,
                        const float *add, float *db)
{
    LAUNCH(hadamard_db_kernel, dim3((unsigned)((s->columns + THREADS - 1) / THREADS), rank_blocks(s)), THREADS, 0, *s,
           dw, a, c, d, add, db);
}
