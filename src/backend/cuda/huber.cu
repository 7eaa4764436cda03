/* The pseudo-Huber loss, 2 c (sqrt(d^2 + c^2) - c), and its gradient. The difference is computed as
 * d^2 / (sqrt(d^2 + c^2) + c), which loses no digits. */
#include "backend/cuda/huber.h"

#include "backend/cuda/device.cuh"

enum { THREADS = 256 };

/* Part b of the sum. */
template <class T, class U>
__global__ void __launch_bounds__(THREADS)
    huber_kernel(const T *x, const U *target, const float *c, float *parts, int64_t count)
{
    __shared__ float room[32];
    const float turn = *c;
    float sum = 0;
    for (int64_t i = first_index(); i < count; i += index_step()) {
        const float d = to_float(x[i]) - to_float(target[i]);
        sum += d * d / (sqrtf(d * d + turn * turn) + turn);
    }
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(THREADS)
    huber_mean_kernel(const float *parts, const float *c, float *mean, int64_t part_count, double over)
{
    __shared__ float room[32];
    const float sum = block_sum(threadIdx.x < part_count ? parts[threadIdx.x] : 0.0f, room);
    if (threadIdx.x == 0) *mean = (float)(2 * (double)*c * (double)sum / over);
}

template <class T, class U>
static void huber(const void *x, const void *target, const float *c, float *loss, float *parts, int64_t count)
{
    const unsigned wanted = blocks_for(count, THREADS), blocks = wanted < HUBER_PARTS ? wanted : HUBER_PARTS;
    LAUNCH((huber_kernel<T, U>), blocks, THREADS, 0, static_cast<const T *>(x), static_cast<const U *>(target), c,
           parts, count);
    LAUNCH(huber_mean_kernel, 1, THREADS, 0, parts, c, loss, (int64_t)blocks, (double)count);
}

void launch_huber(gpu_type type, gpu_type target_type, const void *x, const void *target, const float *c, float *loss,
                  float *parts, int64_t count)
{
    AS_TYPE_OR_F32(type, target_type, T, U, huber<T, U>(x, target, c, loss, parts, count));
}

template <class T, class U>
__global__ void __launch_bounds__(THREADS)
    huber_dx_kernel(const T *x, const U *target, const float *c, const float *dloss, T *dx, int64_t count)
{
    const float turn = *c, factor = (float)(2.0 * (double)turn * (dloss ? (double)*dloss : 1.0) / (double)count);
    for (int64_t i = first_index(); i < count; i += index_step()) {
        const float d = to_float(x[i]) - to_float(target[i]);
        dx[i] = from_float<T>(factor * d / sqrtf(d * d + turn * turn));
    }
}

template <class T, class U>
static void huber_dx(const void *x, const void *target, const float *c, const float *dloss, void *dx, int64_t count)
{
    LAUNCH((huber_dx_kernel<T, U>), blocks_for(count, THREADS), THREADS, 0, static_cast<const T *>(x),
           static_cast<const U *>(target), c, dloss, static_cast<T *>(dx), count);
}

void launch_huber_dx(gpu_type type, gpu_type target_type, const void *x, const void *target, const float *c,
                     const float *dloss, void *dx, int64_t count)
{
    AS_TYPE_OR_F32(type, target_type, T, U, huber_dx<T, U>(x, target, c, dloss, dx, count));
}
