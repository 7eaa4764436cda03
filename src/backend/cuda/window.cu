/* Convolutions as products: windows gathered into rows, rows added up where windows overlap, and weights with channels
 * last, as cuDNN's NHWC convolutions want them. */
#include "backend/cuda/device.cuh"

enum { THREADS = 256 };

template <class T, int N>
__global__ void __launch_bounds__(THREADS)
    gather_kernel(conv_shape s, const T *x, T *rows, int64_t first, int64_t packs)
{
    const int64_t columns = s.in / N, taps = s.kh * s.kw;
    for (int64_t i = first_index(); i < packs; i += index_step()) {
        const int64_t c = i % columns, tap = i / columns % taps, position = first + i / columns / taps;
        const int64_t n = position / s.wo / s.ho;
        const int64_t row = position / s.wo % s.ho * s.stride + tap / s.kw - s.top;
        const int64_t column = position % s.wo * s.stride + tap % s.kw - s.left;
        pack<T, N> out;
        UNROLL
        for (int k = 0; k < N; k++) out.at[k] = from_float<T>(0.0f);
        if (row >= 0 && row < s.h && column >= 0 && column < s.w)
            out = reinterpret_cast<const pack<T, N> *>(x)[((n * s.h + row) * s.w + column) * columns + c];
        reinterpret_cast<pack<T, N> *>(rows)[i] = out;
    }
}

template <class T, int N>
static void gather(const conv_shape *s, const void *x, void *rows, int64_t first, int64_t count)
{
    const int64_t packs = count * s->kh * s->kw * s->in / N;
    LAUNCH((gather_kernel<T, N>), blocks_for(packs, THREADS), THREADS, 0, *s, static_cast<const T *>(x),
           static_cast<T *>(rows), first, packs);
}

void launch_gather(gpu_type type, const conv_shape *s, const void *x, void *rows, int64_t first, int64_t count)
{
    AS_PACKS(type, s->in, gather, s, x, rows, first, count);
}

/* `rows` begins with the windows of sample first_n. */
template <class T>
__global__ void __launch_bounds__(THREADS)
    scatter_kernel(conv_shape s, const float *rows, const T *add, T *dx, int64_t first_n, int64_t count)
{
    for (int64_t i = first_index(); i < count; i += index_step()) {
        const int64_t c = i % s.in, v = i / s.in % s.w, h = i / s.in / s.w % s.h, n = i / s.in / s.w / s.h;
        const int64_t to = first_n * s.h * s.w * s.in + i;
        float sum = add ? to_float(add[to]) : 0.0f;
        for (int64_t p = 0; p < s.kh; p++) {
            const int64_t row = h + s.top - p; /* stride times the output's row */
            if (row < 0 || row % s.stride != 0 || row / s.stride >= s.ho) continue;
            for (int64_t q = 0; q < s.kw; q++) {
                const int64_t column = v + s.left - q;
                if (column < 0 || column % s.stride != 0 || column / s.stride >= s.wo) continue;
                const int64_t position = (n * s.ho + row / s.stride) * s.wo + column / s.stride;
                sum += rows[(position * s.kh * s.kw + p * s.kw + q) * s.in + c];
            }
        }
        dx[to] = from_float<T>(sum);
    }
}

template <class T>
static void scatter(const conv_shape *s, const float *rows, const void *add, void *dx, int64_t first_n, int64_t samples)
{
    const int64_t count = samples * s->h * s->w * s->in;
    LAUNCH(scatter_kernel<T>, blocks_for(count, THREADS), THREADS, 0, *s, rows, static_cast<const T *>(add),
           static_cast<T *>(dx), first_n, count);
}

void launch_scatter(gpu_type type, const conv_shape *s, const float *rows, const void *add, void *dx, int64_t first_n,
                    int64_t samples)
{
    AS_TYPE(type, T, scatter<T>(s, rows, add, dx, first_n, samples));
}

template <class T, class U>
__global__ void __launch_bounds__(THREADS)
    channels_last_kernel(const T *w, U *packed, int64_t count, int64_t in, int64_t taps)
{
    for (int64_t i = first_index(); i < count; i += index_step()) {
        const int64_t c = i % in, tap = i / in % taps, o = i / in / taps;
        packed[i] = from_float<U>(to_float(w[(o * in + c) * taps + tap]));
    }
}

template <class T, class U>
static void channels_last(const void *w, void *packed, int64_t out, int64_t in, int64_t taps)
{
    const int64_t count = out * in * taps;
    LAUNCH((channels_last_kernel<T, U>), blocks_for(count, THREADS), THREADS, 0, static_cast<const T *>(w),
           static_cast<U *>(packed), count, in, taps);
}

void launch_channels_last(gpu_type from, gpu_type to, const void *w, void *packed, int64_t out, int64_t in,
                          int64_t taps)
{
    AS_TYPE_OR_F32(to, from, U, T, channels_last<T, U>(w, packed, out, in, taps));
}

/* An element of dw [out,in,taps] a thread. */
__global__ void __launch_bounds__(THREADS)
    taps_last_kernel(const float *sum, const float *add, float *dw, int64_t count, int64_t in, int64_t taps)
{
    for (int64_t i = first_index(); i < count; i += index_step()) {
        const int64_t tap = i % taps, c = i / taps % in, o = i / taps / in;
        const float value = sum[(o * taps + tap) * in + c];
        dw[i] = add ? value + add[i] : value;
    }
}

void launch_taps_last(const float *sum, const float *add, float *dw, int64_t out, int64_t in, int64_t taps)
{
    const int64_t count = out * in * taps;
    LAUNCH(taps_last_kernel, blocks_for(count, THREADS), THREADS, 0, sum, add, dw, count, in, taps);
}
