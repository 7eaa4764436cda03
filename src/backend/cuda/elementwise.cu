/* Operators that work element by element. Each element is read before it is written, so the output may take over the
 * shared input. */
#include "backend/cuda/device.cuh"

enum { THREADS = 256 };
enum { SILU, GELU, QUICK_GELU }; /* as graph/tensor.h has them */

#define QUICK_GELU_SLOPE 1.702f

DEVICE float gelu(float x)
{
    return 0.5f * x * (1.0f + erff(x * 0.70710678f));
}

DEVICE float gelu_derivative(float x)
{
    return 0.5f * (1.0f + erff(x * 0.70710678f)) + x * expf(-0.5f * x * x) * 0.39894228f;
}

template <int ACTIVATION> DEVICE float activate(float x)
{
    if (ACTIVATION == SILU) return x * logistic(x);
    if (ACTIVATION == GELU) return gelu(x);
    return x * logistic(QUICK_GELU_SLOPE * x);
}

template <int ACTIVATION> DEVICE float activate_derivative(float x)
{
    if (ACTIVATION == SILU) return silu_derivative(x);
    if (ACTIVATION == GELU) return gelu_derivative(x);
    return silu_derivative(QUICK_GELU_SLOPE * x);
}

/* y[i] = f(a[i], b[i]) for whole packs of N; b may be NULL where f doesn't look. */
template <class F, class T, int N>
__global__ void __launch_bounds__(THREADS) map_kernel(const T *a, const T *b, T *y, int64_t packs)
{
    const F f{};
    for (int64_t i = first_index(); i < packs; i += index_step()) {
        pack<T, N> left = reinterpret_cast<const pack<T, N> *>(a)[i], right = left, out;
        if (b) right = reinterpret_cast<const pack<T, N> *>(b)[i];
        UNROLL
        for (int k = 0; k < N; k++) out.at[k] = from_float<T>(f(to_float(left.at[k]), to_float(right.at[k])));
        reinterpret_cast<pack<T, N> *>(y)[i] = out;
    }
}

/* Packs, and what is left over one by one. */
template <class F, class T> static void map(const void *a, const void *b, void *y, int64_t count)
{
    constexpr int N = widest<T>::count;
    const int64_t packs = count / N, done = packs * N, rest = count - done;
    const T *from = static_cast<const T *>(a), *with = static_cast<const T *>(b);
    T *to = static_cast<T *>(y);
    if (packs > 0) LAUNCH((map_kernel<F, T, N>), blocks_for(packs, THREADS), THREADS, 0, from, with, to, packs);
    if (rest > 0) LAUNCH((map_kernel<F, T, 1>), 1, THREADS, 0, from + done, with ? with + done : with, to + done, rest);
}

struct sum_of {
    __device__ float operator()(float a, float b) const
    {
        return a + b;
    }
};
template <int ACTIVATION> struct activation_of {
    __device__ float operator()(float x, float) const
    {
        return activate<ACTIVATION>(x);
    }
};
template <int ACTIVATION> struct activation_gradient_of {
    __device__ float operator()(float dy, float x) const
    {
        return dy * activate_derivative<ACTIVATION>(x);
    }
};

void launch_add(gpu_type type, const void *a, const void *b, void *y, int64_t count)
{
    AS_TYPE(type, T, map<sum_of, T>(a, b, y, count));
}

void launch_activation(gpu_type type, int activation, const void *x, void *y, int64_t count)
{
    switch (activation) {
    case SILU:
        AS_TYPE(type, T, map<activation_of<SILU>, T>(x, nullptr, y, count));
        break;
    case GELU:
        AS_TYPE(type, T, map<activation_of<GELU>, T>(x, nullptr, y, count));
        break;
    default:
        AS_TYPE(type, T, map<activation_of<QUICK_GELU>, T>(x, nullptr, y, count));
    }
}

void launch_activation_dx(gpu_type type, int activation, const void *dy, const void *x, void *dx, int64_t count)
{
    switch (activation) {
    case SILU:
        AS_TYPE(type, T, map<activation_gradient_of<SILU>, T>(dy, x, dx, count));
        break;
    case GELU:
        AS_TYPE(type, T, map<activation_gradient_of<GELU>, T>(dy, x, dx, count));
        break;
    default:
        AS_TYPE(type, T, map<activation_gradient_of<QUICK_GELU>, T>(dy, x, dx, count));
    }
}

/* ---- GEGLU ---- */

template <class T, int N>
__global__ void __launch_bounds__(THREADS) geglu_kernel(const T *x, T *y, int64_t rows, int64_t channels)
{
    const int64_t columns = channels / N;
    const pack<T, N> *from = reinterpret_cast<const pack<T, N> *>(x);
    for (int64_t i = first_index(); i < rows * columns; i += index_step()) {
        const int64_t at = i / columns * 2 * columns + i % columns;
        const pack<T, N> left = from[at], right = from[at + columns];
        pack<T, N> out;
        UNROLL
        for (int k = 0; k < N; k++) out.at[k] = from_float<T>(to_float(left.at[k]) * gelu(to_float(right.at[k])));
        reinterpret_cast<pack<T, N> *>(y)[i] = out;
    }
}

template <class T, int N>
__global__ void __launch_bounds__(THREADS)
    geglu_dx_kernel(const T *dy, const T *x, T *dx, int64_t rows, int64_t channels)
{
    const int64_t columns = channels / N;
    const pack<T, N> *from = reinterpret_cast<const pack<T, N> *>(x);
    pack<T, N> *to = reinterpret_cast<pack<T, N> *>(dx);
    for (int64_t i = first_index(); i < rows * columns; i += index_step()) {
        const int64_t at = i / columns * 2 * columns + i % columns;
        const pack<T, N> left = from[at], right = from[at + columns];
        const pack<T, N> gradient = reinterpret_cast<const pack<T, N> *>(dy)[i];
        pack<T, N> to_left, to_right;
        UNROLL
        for (int k = 0; k < N; k++) {
            const float d = to_float(gradient.at[k]), b = to_float(right.at[k]);
            to_left.at[k] = from_float<T>(d * gelu(b));
            to_right.at[k] = from_float<T>(d * to_float(left.at[k]) * gelu_derivative(b));
        }
        to[at] = to_left;
        to[at + columns] = to_right;
    }
}

template <class T, int N> static void geglu(const void *x, void *y, int64_t rows, int64_t channels)
{
    LAUNCH((geglu_kernel<T, N>), blocks_for(rows * channels / N, THREADS), THREADS, 0, static_cast<const T *>(x),
           static_cast<T *>(y), rows, channels);
}

template <class T, int N> static void geglu_dx(const void *dy, const void *x, void *dx, int64_t rows, int64_t channels)
{
    LAUNCH((geglu_dx_kernel<T, N>), blocks_for(rows * channels / N, THREADS), THREADS, 0, static_cast<const T *>(dy),
           static_cast<const T *>(x), static_cast<T *>(dx), rows, channels);
}

void launch_geglu(gpu_type type, const void *x, void *y, int64_t rows, int64_t channels)
{
    AS_PACKS(type, channels, geglu, x, y, rows, channels);
}

void launch_geglu_dx(gpu_type type, const void *dy, const void *x, void *dx, int64_t rows, int64_t channels)
{
    AS_PACKS(type, channels, geglu_dx, dy, x, dx, rows, channels);
}

/* ---- vectors added to rows ---- */

/* y[r,c] = x[r,c] + v[r / rows_each, c] + add[r,c]; v and add may be NULL. */
template <class T, int N>
__global__ void __launch_bounds__(THREADS)
    add_vector_kernel(const T *x, const T *v, const T *add, T *y, int64_t packs, int64_t columns, int64_t rows_each)
{
    for (int64_t i = first_index(); i < packs; i += index_step()) {
        const pack<T, N> left = reinterpret_cast<const pack<T, N> *>(x)[i];
        pack<T, N> vector = {}, extra = {}, out;
        if (v) vector = reinterpret_cast<const pack<T, N> *>(v)[i / (columns * rows_each) * columns + i % columns];
        if (add) extra = reinterpret_cast<const pack<T, N> *>(add)[i];
        UNROLL
        for (int k = 0; k < N; k++) {
            float sum = to_float(left.at[k]);
            if (v) sum += to_float(vector.at[k]);
            if (add) sum += to_float(extra.at[k]);
            out.at[k] = from_float<T>(sum);
        }
        reinterpret_cast<pack<T, N> *>(y)[i] = out;
    }
}

template <class T, int N>
static void add_vector(const void *x, const void *v, const void *add, void *y, int64_t rows, int64_t channels,
                       int64_t rows_each)
{
    const int64_t packs = rows * channels / N;
    LAUNCH((add_vector_kernel<T, N>), blocks_for(packs, THREADS), THREADS, 0, static_cast<const T *>(x),
           static_cast<const T *>(v), static_cast<const T *>(add), static_cast<T *>(y), packs, channels / N, rows_each);
}

void launch_add_spatial(gpu_type type, const void *x, const void *v, void *y, int64_t samples, int64_t positions,
                        int64_t channels)
{
    AS_PACKS(type, channels, add_vector, x, v, nullptr, y, samples * positions, channels, positions);
}

void launch_add_bias(gpu_type type, const void *x, const void *bias, const void *add, void *y, int64_t rows,
                     int64_t channels)
{
    AS_PACKS(type, channels, add_vector, x, bias, add, y, rows, channels, rows);
}

/* ---- conversion ---- */

template <class T, class U> __global__ void __launch_bounds__(THREADS) convert_kernel(const T *x, U *y, int64_t count)
{
    for (int64_t i = first_index(); i < count; i += index_step()) y[i] = from_float<U>(to_float(x[i]));
}

template <class T, class U> static void convert(const void *x, void *y, int64_t count)
{
    LAUNCH((convert_kernel<T, U>), blocks_for(count, THREADS), THREADS, 0, static_cast<const T *>(x),
           static_cast<U *>(y), count);
}

void launch_convert(gpu_type from, gpu_type to, const void *x, void *y, int64_t count)
{
    AS_TYPE(from, T, AS_TYPE(to, U, convert<T, U>(x, y, count)));
}

/* ---- mean squared error ---- */

/* Part b of the sum of (x - target)^2; with one block, all of it, divided by `over`. */
template <class T, class U>
__global__ void __launch_bounds__(THREADS) mse_kernel(const T *x, const U *target, float *parts, int64_t count)
{
    __shared__ float room[32];
    float sum = 0;
    for (int64_t i = first_index(); i < count; i += index_step()) {
        const float d = to_float(x[i]) - to_float(target[i]);
        sum += d * d;
    }
    sum = block_sum(sum, room);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(THREADS) mean_kernel(const float *parts, float *mean, int64_t part_count, double over)
{
    __shared__ float room[32];
    const float sum = block_sum(threadIdx.x < part_count ? parts[threadIdx.x] : 0.0f, room);
    if (threadIdx.x == 0) *mean = (float)((double)sum / over);
}

template <class T, class U> static void mse(const void *x, const void *target, float *loss, float *parts, int64_t count)
{
    const unsigned wanted = blocks_for(count, THREADS), blocks = wanted < MSE_PARTS ? wanted : MSE_PARTS;
    LAUNCH((mse_kernel<T, U>), blocks, THREADS, 0, static_cast<const T *>(x), static_cast<const U *>(target), parts,
           count);
    LAUNCH(mean_kernel, 1, THREADS, 0, parts, loss, (int64_t)blocks, (double)count);
}

void launch_mse(gpu_type type, gpu_type target_type, const void *x, const void *target, float *loss, float *parts,
                int64_t count)
{
    AS_TYPE_OR_F32(type, target_type, T, U, mse<T, U>(x, target, loss, parts, count));
}

template <class T, class U>
__global__ void __launch_bounds__(THREADS)
    mse_dx_kernel(const T *x, const U *target, const float *dloss, T *dx, int64_t count)
{
    const float factor = (float)(2.0 * (dloss ? (double)*dloss : 1.0) / (double)count);
    for (int64_t i = first_index(); i < count; i += index_step())
        dx[i] = from_float<T>((to_float(x[i]) - to_float(target[i])) * factor);
}

template <class T, class U>
static void mse_dx(const void *x, const void *target, const float *dloss, void *dx, int64_t count)
{
    LAUNCH((mse_dx_kernel<T, U>), blocks_for(count, THREADS), THREADS, 0, static_cast<const T *>(x),
           static_cast<const U *>(target), dloss, static_cast<T *>(dx), count);
}

void launch_mse_dx(gpu_type type, gpu_type target_type, const void *x, const void *target, const float *dloss, void *dx,
                   int64_t count)
{
    AS_TYPE_OR_F32(type, target_type, T, U, mse_dx<T, U>(x, target, dloss, dx, count));
}

/* ---- noise ---- */

template <class T> __global__ void __launch_bounds__(THREADS) noise_kernel(T *y, int64_t count)
{
    for (int64_t i = first_index(); i < count; i += index_step()) {
        uint32_t h = (uint32_t)i * 2654435761u; /* a Weyl sequence, mixed */
        h ^= h >> 16;
        h *= 0x45d9f3bu;
        h ^= h >> 16;
        y[i] = from_float<T>((float)(int32_t)h * (1.0f / 2147483648.0f));
    }
}

template <class T> static void noise(void *y, int64_t count)
{
    LAUNCH(noise_kernel<T>, blocks_for(count, THREADS), THREADS, 0, static_cast<T *>(y), count);
}

void launch_noise(gpu_type type, void *y, int64_t count)
{
    AS_TYPE(type, T, noise<T>(y, count));
}

/* ---- a pause ---- */

__global__ void pause_kernel(int64_t nanoseconds)
{
#if defined(LECO_EMULATE)
    (void)nanoseconds;
#else
    uint64_t start, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
    do asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    while ((int64_t)(now - start) < nanoseconds);
#endif
}

void launch_pause(int milliseconds)
{
    LAUNCH(pause_kernel, 1, 32, 0, (int64_t)milliseconds * 1000000);
}
