/* Operators that move, pick or sum elements. */
#include "backend/cuda/device.cuh"

enum { THREADS = 256 };

/* ---- sums over positions: a block has 32 channels and 8 positions at a time ---- */

template <class T>
__global__ void __launch_bounds__(THREADS)
    sum_spatial_kernel(const T *x, T *y, float scale, int64_t positions, int64_t channels)
{
    __shared__ float part[8][32];
    const int64_t c = (int64_t)blockIdx.x * 32 + threadIdx.x % 32, n = blockIdx.y;
    const unsigned row = threadIdx.x / 32;
    float sum = 0;
    if (c < channels)
        for (int64_t p = row; p < positions; p += 8) sum += to_float(x[(n * positions + p) * channels + c]);
    part[row][threadIdx.x % 32] = sum;
    __syncthreads();
    if (row > 0 || c >= channels) return;
    for (int i = 1; i < 8; i++) sum += part[i][threadIdx.x];
    y[n * channels + c] = from_float<T>(scale * sum);
}

template <class T>
static void sum_spatial(const void *x, void *y, float scale, int64_t samples, int64_t positions, int64_t channels)
{
    LAUNCH(sum_spatial_kernel<T>, dim3((unsigned)((channels + 31) / 32), (unsigned)samples), THREADS, 0,
           static_cast<const T *>(x), static_cast<T *>(y), scale, positions, channels);
}

void launch_sum_spatial(gpu_type type, const void *x, void *y, float scale, int64_t samples, int64_t positions,
                        int64_t channels)
{
    AS_TYPE(type, T, sum_spatial<T>(x, y, scale, samples, positions, channels));
}

/* ---- columns ---- */

/* All in units of W. */
template <class W>
__global__ void __launch_bounds__(THREADS)
    copy_columns_kernel(W *dst, int64_t dst_width, const W *src, int64_t src_width, int64_t count, int64_t length)
{
    for (int64_t i = first_index(); i < count; i += index_step())
        dst[i / length * dst_width + i % length] = src[i / length * src_width + i % length];
}

template <class W>
static bool copied_columns(void *dst, int64_t dst_width, int64_t dst_from, const void *src, int64_t src_width,
                           int64_t src_from, int64_t rows, int64_t length)
{
    const int64_t size = (int64_t)sizeof(W), all = dst_width | dst_from | src_width | src_from | length |
                                                   (int64_t) reinterpret_cast<intptr_t>(dst) |
                                                   (int64_t) reinterpret_cast<intptr_t>(src);
    if (all % size != 0) return false;
    const int64_t count = rows * length / size;
    W *to = reinterpret_cast<W *>(static_cast<unsigned char *>(dst) + dst_from);
    const W *from = reinterpret_cast<const W *>(static_cast<const unsigned char *>(src) + src_from);
    LAUNCH(copy_columns_kernel<W>, blocks_for(count, THREADS), THREADS, 0, to, dst_width / size, from, src_width / size,
           count, length / size);
    return true;
}

void launch_copy_columns(size_t size, void *dst, int64_t dst_width, int64_t dst_from, const void *src,
                         int64_t src_width, int64_t src_from, int64_t rows, int64_t length)
{
    const int64_t bytes = (int64_t)size;
    if (!copied_columns<uint4>(dst, dst_width * bytes, dst_from * bytes, src, src_width * bytes, src_from * bytes, rows,
                               length * bytes) &&
        !copied_columns<uint32_t>(dst, dst_width * bytes, dst_from * bytes, src, src_width * bytes, src_from * bytes,
                                  rows, length * bytes))
        copied_columns<uint16_t>(dst, dst_width * bytes, dst_from * bytes, src, src_width * bytes, src_from * bytes,
                                 rows, length * bytes);
}

void launch_copy(const void *from, void *to, int64_t bytes)
{
    launch_copy_columns(1, to, bytes, 0, from, bytes, 0, 1, bytes);
}

/* ---- nearest-neighbour resize ---- */

struct resize {
    int64_t samples, height, width, to_height, to_width;
};

template <class T, int N>
__global__ void __launch_bounds__(THREADS) upsample_kernel(const T *x, T *y, resize r, int64_t columns, int64_t packs)
{
    for (int64_t i = first_index(); i < packs; i += index_step()) {
        const int64_t c = i % columns, at = i / columns, j = at % r.to_width, row = at / r.to_width % r.to_height;
        const int64_t n = at / r.to_width / r.to_height;
        const int64_t h = row * r.height / r.to_height, v = j * r.width / r.to_width;
        reinterpret_cast<pack<T, N> *>(y)[i] =
            reinterpret_cast<const pack<T, N> *>(x)[((n * r.height + h) * r.width + v) * columns + c];
    }
}

/* The first index of the larger image that comes from index `at` of the smaller one. */
DEVICE int64_t first_of(int64_t at, int64_t from, int64_t to)
{
    return (at * to + from - 1) / from;
}

template <class T, int N>
__global__ void __launch_bounds__(THREADS)
    upsample_dx_kernel(const T *dy, T *dx, resize r, int64_t columns, int64_t packs)
{
    for (int64_t i = first_index(); i < packs; i += index_step()) {
        const int64_t c = i % columns, at = i / columns, v = at % r.width, h = at / r.width % r.height;
        const int64_t n = at / r.width / r.height;
        const int64_t row_end = first_of(h + 1, r.height, r.to_height), end = first_of(v + 1, r.width, r.to_width);
        float sum[N] = {};
        for (int64_t row = first_of(h, r.height, r.to_height); row < row_end; row++)
            for (int64_t j = first_of(v, r.width, r.to_width); j < end; j++) {
                const pack<T, N> d =
                    reinterpret_cast<const pack<T, N> *>(dy)[((n * r.to_height + row) * r.to_width + j) * columns + c];
                UNROLL
                for (int k = 0; k < N; k++) sum[k] += to_float(d.at[k]);
            }
        pack<T, N> out;
        UNROLL
        for (int k = 0; k < N; k++) out.at[k] = from_float<T>(sum[k]);
        reinterpret_cast<pack<T, N> *>(dx)[i] = out;
    }
}

template <class T, int N> static void upsample(const void *x, void *y, resize r, int64_t channels)
{
    const int64_t packs = r.samples * r.to_height * r.to_width * channels / N;
    LAUNCH((upsample_kernel<T, N>), blocks_for(packs, THREADS), THREADS, 0, static_cast<const T *>(x),
           static_cast<T *>(y), r, channels / N, packs);
}

template <class T, int N> static void upsample_dx(const void *dy, void *dx, resize r, int64_t channels)
{
    const int64_t packs = r.samples * r.height * r.width * channels / N;
    LAUNCH((upsample_dx_kernel<T, N>), blocks_for(packs, THREADS), THREADS, 0, static_cast<const T *>(dy),
           static_cast<T *>(dx), r, channels / N, packs);
}

void launch_upsample(gpu_type type, const void *x, void *y, int64_t samples, int64_t height, int64_t width,
                     int64_t to_height, int64_t to_width, int64_t channels)
{
    const resize r = {samples, height, width, to_height, to_width};
    AS_PACKS(type, channels, upsample, x, y, r, channels);
}

void launch_upsample_dx(gpu_type type, const void *dy, void *dx, int64_t samples, int64_t height, int64_t width,
                        int64_t from_height, int64_t from_width, int64_t channels)
{
    const resize r = {samples, height, width, from_height, from_width};
    AS_PACKS(type, channels, upsample_dx, dy, dx, r, channels);
}

/* ---- embeddings ---- */

/* In f64: the sine of 1000 in f32 is off in the fifth digit. There are few of them. */
template <class T>
__global__ void __launch_bounds__(THREADS)
    timestep_embedding_kernel(const float *t, T *y, int64_t samples, int64_t half, bool cos_first, float freq_shift)
{
    const int64_t i = first_index();
    if (i >= samples * half) return;
    const int64_t n = i / half, k = i % half, sin_at = cos_first ? half : 0;
    const double frequency = exp(-log(10000.0) * (double)k / ((double)half - (double)freq_shift));
    const double angle = (double)t[n] * frequency;
    y[n * 2 * half + sin_at + k] = from_float<T>((float)sin(angle));
    y[n * 2 * half + half - sin_at + k] = from_float<T>((float)cos(angle));
}

template <class T>
static void timestep_embedding(const float *t, void *y, int64_t samples, int64_t half, bool cos_first, float freq_shift)
{
    LAUNCH(timestep_embedding_kernel<T>, (unsigned)((samples * half + THREADS - 1) / THREADS), THREADS, 0, t,
           static_cast<T *>(y), samples, half, cos_first, freq_shift);
}

void launch_timestep_embedding(gpu_type type, const float *t, void *y, int64_t samples, int64_t width, bool cos_first,
                               float freq_shift)
{
    AS_TYPE(type, T, timestep_embedding<T>(t, y, samples, width / 2, cos_first, freq_shift));
}

template <class T>
__global__ void __launch_bounds__(THREADS)
    embedding_kernel(const int32_t *ids, const T *table, const T *position, T *y, int64_t count, int64_t tokens,
                     int64_t width, int64_t table_rows)
{
    for (int64_t i = first_index(); i < count; i += index_step()) {
        const int64_t row = i / width, c = i % width, id = ids[row];
        float sum = id >= 0 && id < table_rows ? to_float(table[id * width + c]) : 0.0f;
        if (position) sum += to_float(position[row % tokens * width + c]);
        y[i] = from_float<T>(sum);
    }
}

template <class T>
static void embedding(const int32_t *ids, const void *table, const void *position, void *y, int64_t samples,
                      int64_t tokens, int64_t width, int64_t table_rows)
{
    const int64_t count = samples * tokens * width;
    LAUNCH(embedding_kernel<T>, blocks_for(count, THREADS), THREADS, 0, ids, static_cast<const T *>(table),
           static_cast<const T *>(position), static_cast<T *>(y), count, tokens, width, table_rows);
}

void launch_embedding(gpu_type type, const int32_t *ids, const void *table, const void *position, void *y,
                      int64_t samples, int64_t tokens, int64_t width, int64_t table_rows)
{
    AS_TYPE(type, T, embedding<T>(ids, table, position, y, samples, tokens, width, table_rows));
}

template <class T>
__global__ void __launch_bounds__(THREADS) add_rows_kernel(const T *x, const int32_t *ids, const float *rows, T *y,
                                                           int64_t count, int64_t width, int64_t from, int64_t known)
{
    for (int64_t i = first_index(); i < count; i += index_step()) {
        const int64_t row = (int64_t)ids[i / width] - from;
        const float more = row >= 0 && row < known ? rows[row * width + i % width] : 0.0f;
        y[i] = from_float<T>(to_float(x[i]) + more);
    }
}

template <class T>
static void add_rows(const void *x, const int32_t *ids, const float *rows, void *y, int64_t tokens, int64_t width,
                     int64_t from, int64_t known)
{
    LAUNCH(add_rows_kernel<T>, blocks_for(tokens * width, THREADS), THREADS, 0, static_cast<const T *>(x), ids, rows,
           static_cast<T *>(y), tokens * width, width, from, known);
}

void launch_add_rows(gpu_type type, const void *x, const int32_t *ids, const float *rows, void *y, int64_t tokens,
                     int64_t width, int64_t from, int64_t row_count)
{
    AS_TYPE(type, T, add_rows<T>(x, ids, rows, y, tokens, width, from, row_count));
}

template <class T>
__global__ void __launch_bounds__(THREADS)
    add_rows_dw_kernel(const T *dy, const int32_t *ids, const float *add, float *dw, int64_t count, int64_t tokens,
                       int64_t width, int64_t from)
{
    for (int64_t i = first_index(); i < count; i += index_step()) {
        const int64_t row = i / width, c = i % width;
        float sum = add ? add[i] : 0.0f;
        for (int64_t t = 0; t < tokens; t++)
            if ((int64_t)ids[t] - from == row) sum += to_float(dy[t * width + c]);
        dw[i] = sum;
    }
}

template <class T>
static void add_rows_dw(const void *dy, const int32_t *ids, const float *add, float *dw, int64_t count, int64_t tokens,
                        int64_t width, int64_t from)
{
    LAUNCH(add_rows_dw_kernel<T>, blocks_for(count, THREADS), THREADS, 0, static_cast<const T *>(dy), ids, add, dw,
           count, tokens, width, from);
}

void launch_add_rows_dw(gpu_type type, const void *dy, const int32_t *ids, const float *add, float *dw, int64_t tokens,
                        int64_t width, int64_t from, int64_t row_count)
{
    AS_TYPE(type, T, add_rows_dw<T>(dy, ids, add, dw, row_count * width, tokens, width, from));
}

template <class T>
__global__ void __launch_bounds__(THREADS)
    select_rows_kernel(const T *x, const int32_t *index, T *y, int64_t count, int64_t tokens, int64_t width)
{
    for (int64_t i = first_index(); i < count; i += index_step())
        y[i] = x[(i / width * tokens + index[i / width]) * width + i % width];
}

template <class T>
static void select_rows(const void *x, const int32_t *index, void *y, int64_t count, int64_t tokens, int64_t width)
{
    LAUNCH(select_rows_kernel<T>, blocks_for(count, THREADS), THREADS, 0, static_cast<const T *>(x), index,
           static_cast<T *>(y), count, tokens, width);
}

void launch_select_rows(gpu_type type, const void *x, const int32_t *index, void *y, int64_t samples, int64_t tokens,
                        int64_t width)
{
    AS_TYPE(type, T, select_rows<T>(x, index, y, samples * width, tokens, width));
}

template <class T>
__global__ void __launch_bounds__(THREADS)
    select_rows_dx_kernel(const T *dy, const int32_t *index, T *dx, int64_t count, int64_t tokens, int64_t width)
{
    for (int64_t i = first_index(); i < count; i += index_step()) {
        const int64_t row = i / width, n = row / tokens;
        dx[i] = row % tokens == index[n] ? dy[n * width + i % width] : from_float<T>(0.0f);
    }
}

template <class T>
static void select_rows_dx(const void *dy, const int32_t *index, void *dx, int64_t count, int64_t tokens, int64_t width)
{
    LAUNCH(select_rows_dx_kernel<T>, blocks_for(count, THREADS), THREADS, 0, static_cast<const T *>(dy), index,
           static_cast<T *>(dx), count, tokens, width);
}

void launch_select_rows_dx(gpu_type type, const void *dy, const int32_t *index, void *dx, int64_t samples,
                           int64_t tokens, int64_t width)
{
    AS_TYPE(type, T, select_rows_dx<T>(dy, index, dx, samples * tokens * width, tokens, width));
}
