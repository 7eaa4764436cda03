/* What adapters compute beside linear and conv2d. The product, the swap and row norms are of what is trained, in f32:
 * they are small beside what the model computes. */
#include "backend/cuda/adapter.h"

#include "backend/cuda/device.cuh"

enum { THREADS = 256, WARP = 32 };

/* ---- product and swap ---- */

/* A thread has one element of y: neighbours read neighbouring columns of b. */
__global__ void __launch_bounds__(THREADS)
    product_kernel(adapter_product s, const float *a, const float *b, const float *add, float *y)
{
    for (int64_t i = first_index(); i < s.rows * s.columns; i += index_step()) {
        const int64_t row = i / s.columns, column = i % s.columns;
        const float *left = s.a_turned ? a + row : a + row * s.depth;
        const int64_t step = s.a_turned ? s.rows : 1;
        float sum = 0;
        for (int64_t k = 0; k < s.depth; k++) sum += left[k * step] * b[k * s.columns + column];
        y[i] = add ? s.scale * sum + add[i] : s.scale * sum;
    }
}

/* A warp has one element of y, where b is turned: both operands are read along their rows. */
__global__ void __launch_bounds__(THREADS)
    product_turned_kernel(adapter_product s, const float *a, const float *b, const float *add, float *y)
{
    const int64_t i = first_index() / WARP, lane = threadIdx.x % WARP;
    if (i >= s.rows * s.columns) return;
    const float *left = a + i / s.columns * s.depth, *right = b + i % s.columns * s.depth;
    float sum = 0;
    for (int64_t k = lane; k < s.depth; k += WARP) sum += left[k] * right[k];
    sum = warp_sum(sum);
    if (lane == 0) y[i] = add ? s.scale * sum + add[i] : s.scale * sum;
}

void launch_product(const adapter_product *s, const float *a, const float *b, const float *add, float *y)
{
    const int64_t count = s->rows * s->columns;
    if (s->b_turned)
        LAUNCH(product_turned_kernel, (unsigned)((count * WARP + THREADS - 1) / THREADS), THREADS, 0, *s, a, b, add, y);
    else
        LAUNCH(product_kernel, blocks_for(count, THREADS), THREADS, 0, *s, a, b, add, y);
}

struct swap_shape {
    int64_t b, c, d, count;
};

__global__ void __launch_bounds__(THREADS) swap_kernel(swap_shape s, const float *x, float *y)
{
    for (int64_t i = first_index(); i < s.count; i += index_step()) { /* of y: [a,b,c,d] */
        const int64_t d = i % s.d, c = i / s.d % s.c, b = i / s.d / s.c % s.b, a = i / s.d / s.c / s.b;
        y[i] = x[((a * s.c + c) * s.b + b) * s.d + d];
    }
}

void launch_swap(const int64_t dim[4], const float *x, float *y)
{
    const swap_shape s = {dim[2], dim[1], dim[3], dim[0] * dim[1] * dim[2] * dim[3]};
    LAUNCH(swap_kernel, blocks_for(s.count, THREADS), THREADS, 0, s, x, y);
}

/* ---- row norms ---- */

/* A block has one row, or one column with its taps. */
template <class T>
__global__ void __launch_bounds__(THREADS)
    row_norms_kernel(row_norms_shape s, const T *w, const float *up, const float *down, float *q)
{
    __shared__ float room[32];
    const int64_t columns = s.in * s.taps, which = blockIdx.x, count = s.by_column ? s.rows * s.taps : columns;
    float sum = 0;
    for (int64_t i = threadIdx.x; i < count; i += THREADS) {
        const int64_t row = s.by_column ? i / s.taps : which;
        const int64_t column = s.by_column ? which * s.taps + i % s.taps : i;
        float change = 0;
        for (int64_t r = 0; r < s.rank; r++) change += up[row * s.rank + r] * down[r * columns + column];
        const float value = to_float(w[row * columns + column]) + s.scale * change;
        sum += value * value;
    }
    const float all = block_sum(sum, room);
    if (threadIdx.x == 0) q[which] = 1.0f / sqrtf(all);
}

void launch_row_norms(gpu_type type, const row_norms_shape *s, const void *w, const float *up, const float *down,
                      float *q)
{
    const unsigned count = (unsigned)(s->by_column ? s->in : s->rows);
    AS_TYPE(type, T, LAUNCH(row_norms_kernel<T>, count, THREADS, 0, *s, static_cast<const T *>(w), up, down, q));
}

/* ---- affine ---- */

template <class T>
__global__ void __launch_bounds__(THREADS)
    affine_kernel(affine_shape s, const T *x, const float *v, const T *bias, const T *add, T *y)
{
    for (int64_t i = first_index(); i < s.rows * s.channels; i += index_step()) {
        const int64_t c = i % s.channels;
        float sum = (v ? s.offset + s.scale * v[c] : s.offset) * to_float(x[i]);
        if (bias) sum += to_float(bias[c]);
        if (add) sum += to_float(add[i]);
        y[i] = from_float<T>(sum);
    }
}

template <class T>
static void affine(const affine_shape *s, const void *x, const float *v, const void *bias, const void *add, void *y)
{
    LAUNCH(affine_kernel<T>, blocks_for(s->rows * s->channels, THREADS), THREADS, 0, *s, static_cast<const T *>(x), v,
           static_cast<const T *>(bias), static_cast<const T *>(add), static_cast<T *>(y));
}

void launch_affine(gpu_type type, const affine_shape *s, const void *x, const float *v, const void *bias,
                   const void *add, void *y)
{
    AS_TYPE(type, T, affine<T>(s, x, v, bias, add, y));
}

/* A block has a channel. */
template <class T>
__global__ void __launch_bounds__(THREADS)
    affine_dv_kernel(affine_shape s, const T *dy, const T *x, const float *add, float *dv)
{
    __shared__ float room[32];
    const int64_t c = blockIdx.x;
    float sum = 0;
    for (int64_t r = threadIdx.x; r < s.rows; r += THREADS)
        sum += to_float(dy[r * s.channels + c]) * to_float(x[r * s.channels + c]);
    const float all = s.scale * block_sum(sum, room);
    if (threadIdx.x == 0) dv[c] = add ? all + add[c] : all;
}

void launch_affine_dv(gpu_type type, const affine_shape *s, const void *dy, const void *x, const float *add, float *dv)
{
    AS_TYPE(type, T,
            LAUNCH(affine_dv_kernel<T>, (unsigned)s->channels, THREADS, 0, *s, static_cast<const T *>(dy),
                   static_cast<const T *>(x), add, dv));
}

/* ---- multiply ---- */

template <class T>
__global__ void __launch_bounds__(THREADS) multiply_kernel(const T *a, const T *b, T *y, int64_t count)
{
    for (int64_t i = first_index(); i < count; i += index_step()) y[i] = from_float<T>(to_float(a[i]) * to_float(b[i]));
}

void launch_multiply(gpu_type type, const void *a, const void *b, void *y, int64_t count)
{
    AS_TYPE(type, T,
            LAUNCH(multiply_kernel<T>, blocks_for(count, THREADS), THREADS, 0, static_cast<const T *>(a),
                   static_cast<const T *>(b), static_cast<T *>(y), count));
}
