/* Products with a side of at most 16, as LoRA's are: they are bound by memory, not by arithmetic. The small factor is f32
 * and is read as it is. R is the rank rounded up, N the elements that a thread moves at once. */
#include "backend/cuda/device.cuh"

enum { THREADS = 256, ROW_LANES = 8, COLUMN_LANES = 32, MOST_PARTS = 64, PART_ROWS = 64 };

/* ---- y [rows,rank] = scale * x [rows,depth] w + add: a warp has four rows ---- */

enum { WARP_ROWS = 4, BLOCK_ROWS = WARP_ROWS * THREADS / 32 };

template <class T, int N, int R>
__global__ void __launch_bounds__(THREADS)
    reduce_kernel(const T *x, narrow_weight w, const T *add, T *y, int64_t rows, int depth, int rank, float scale)
{
    const int lane = (int)threadIdx.x % 32;
    const int64_t first = (int64_t)blockIdx.x * BLOCK_ROWS + threadIdx.x / 32 * WARP_ROWS;
    float sum[WARP_ROWS][R] = {};
    for (int i = lane * N; i < depth; i += 32 * N) {
        pack<T, N> value[WARP_ROWS];
        UNROLL
        for (int r = 0; r < WARP_ROWS; r++)
            value[r] = *reinterpret_cast<const pack<T, N> *>(x + (first + r < rows ? first + r : rows - 1) * depth + i);
        UNROLL
        for (int k = 0; k < R; k++) {
            UNROLL
            for (int n = 0; n < N; n++) {
                const float factor = k < rank ? w.at[k * w.rank_step + (i + n) * w.wide_step] : 0.0f;
                UNROLL
                for (int r = 0; r < WARP_ROWS; r++) sum[r][k] += to_float(value[r].at[n]) * factor;
            }
        }
    }
    UNROLL
    for (int r = 0; r < WARP_ROWS; r++) {
        UNROLL
        for (int k = 0; k < R; k++) {
            const float all = scale * warp_sum(sum[r][k]);
            const int64_t at = (first + r) * rank + k;
            if (lane == k && k < rank && first + r < rows) y[at] = from_float<T>(add ? all + to_float(add[at]) : all);
        }
    }
}

/* ---- y [rows,columns] = scale * low [rows,rank] w + add: a thread has N columns ---- */

enum { THREAD_ROWS = 4 };

template <class T, int N, int R>
__global__ void __launch_bounds__(THREADS)
    expand_kernel(const T *low, narrow_weight w, const T *add, T *y, int64_t rows, int columns, int rank, float scale)
{
    const int column = ((int)blockIdx.x * COLUMN_LANES + (int)threadIdx.x % COLUMN_LANES) * N;
    if (column >= columns) return;
    float factor[R][N];
    UNROLL
    for (int k = 0; k < R; k++) {
        UNROLL
        for (int n = 0; n < N; n++)
            factor[k][n] = k < rank ? scale * w.at[k * w.rank_step + (column + n) * w.wide_step] : 0.0f;
    }
    const int64_t first = (int64_t)blockIdx.y * ROW_LANES * THREAD_ROWS + threadIdx.x / COLUMN_LANES;
    UNROLL
    for (int i = 0; i < THREAD_ROWS; i++) {
        const int64_t row = first + i * ROW_LANES;
        if (row >= rows) break;
        pack<T, N> more = {}, out;
        if (add) more = *reinterpret_cast<const pack<T, N> *>(add + row * columns + column);
        float sum[N];
        UNROLL
        for (int n = 0; n < N; n++) sum[n] = add ? to_float(more.at[n]) : 0.0f;
        UNROLL
        for (int k = 0; k < R; k++) {
            const float left = k < rank ? to_float(low[row * rank + k]) : 0.0f;
            UNROLL
            for (int n = 0; n < N; n++) sum[n] += left * factor[k][n];
        }
        UNROLL
        for (int n = 0; n < N; n++) out.at[n] = from_float<T>(sum[n]);
        *reinterpret_cast<pack<T, N> *>(y + row * columns + column) = out;
    }
}

/* ---- dw = scale * narrow [rows,rank]^T wide [rows,columns] + add, in parts of rows that are summed in their order ----
 */

static int64_t parts_of(int64_t rows)
{
    const int64_t parts = rows / PART_ROWS;
    if (parts < 1) return 1;
    return parts < MOST_PARTS ? parts : (int64_t)MOST_PARTS;
}

size_t narrow_dw_scratch(int64_t rows, int64_t columns, int64_t rank)
{
    return (size_t)(parts_of(rows) * columns * rank) * sizeof(float);
}

template <class T, int N, int R>
__global__ void __launch_bounds__(THREADS)
    dw_part_kernel(const T *narrow, const T *wide, float *parts, int64_t rows, int columns, int rank)
{
    __shared__ float room[ROW_LANES][COLUMN_LANES * N];
    const int column_lane = (int)threadIdx.x % COLUMN_LANES, row_lane = (int)threadIdx.x / COLUMN_LANES;
    const int column = ((int)blockIdx.x * COLUMN_LANES + column_lane) * N;
    const int64_t end = rows * (blockIdx.y + 1) / gridDim.y;
    float sum[R][N] = {};
    for (int64_t row = rows * blockIdx.y / gridDim.y + row_lane; row < end && column < columns; row += ROW_LANES) {
        const pack<T, N> right = *reinterpret_cast<const pack<T, N> *>(wide + row * columns + column);
        UNROLL
        for (int k = 0; k < R; k++) {
            const float left = k < rank ? to_float(narrow[row * rank + k]) : 0.0f;
            UNROLL
            for (int n = 0; n < N; n++) sum[k][n] += left * to_float(right.at[n]);
        }
    }
    UNROLL
    for (int k = 0; k < R; k++) {
        if (k >= rank) break;
        __syncthreads();
        UNROLL
        for (int n = 0; n < N; n++) room[row_lane][column_lane * N + n] = sum[k][n];
        __syncthreads();
        for (int c = (int)threadIdx.x; c < COLUMN_LANES * N; c += THREADS) {
            const int to = (int)blockIdx.x * COLUMN_LANES * N + c;
            if (to >= columns) continue;
            float all = 0;
            UNROLL
            for (int r = 0; r < ROW_LANES; r++) all += room[r][c];
            parts[((int64_t)blockIdx.y * rank + k) * columns + to] = all;
        }
    }
}

__global__ void __launch_bounds__(THREADS)
    dw_sum_kernel(const float *parts, int64_t part_count, narrow_weight dw, const float *add, int rank, int columns,
                  float scale)
{
    const int64_t i = first_index(), count = (int64_t)rank * columns;
    if (i >= count) return;
    float all = 0;
    for (int64_t part = 0; part < part_count; part++) all += parts[part * count + i];
    const int64_t at = i / columns * dw.rank_step + i % columns * dw.wide_step;
    const_cast<float *>(dw.at)[at] = add ? scale * all + add[at] : scale * all;
}

/* ---- launching ---- */

template <class T, int N, int R>
static void reduce(const void *x, const narrow_weight &w, const void *add, void *y, int64_t rows, int64_t depth,
                   int64_t rank, float scale)
{
    LAUNCH((reduce_kernel<T, N, R>), (unsigned)((rows + BLOCK_ROWS - 1) / BLOCK_ROWS), THREADS, 0,
           static_cast<const T *>(x), w, static_cast<const T *>(add), static_cast<T *>(y), rows, (int)depth, (int)rank,
           scale);
}

template <class T, int N, int R>
static void expand(const void *low, const narrow_weight &w, const void *add, void *y, int64_t rows, int64_t columns,
                   int64_t rank, float scale)
{
    constexpr int64_t each = ROW_LANES * THREAD_ROWS;
    const dim3 grid((unsigned)((columns / N + COLUMN_LANES - 1) / COLUMN_LANES), (unsigned)((rows + each - 1) / each));
    LAUNCH((expand_kernel<T, N, R>), grid, THREADS, 0, static_cast<const T *>(low), w, static_cast<const T *>(add),
           static_cast<T *>(y), rows, (int)columns, (int)rank, scale);
}

template <class T, int N, int R>
static void dw_parts(const void *narrow, const void *wide, float *parts, int64_t rows, int64_t columns, int64_t rank)
{
    const dim3 grid((unsigned)((columns / N + COLUMN_LANES - 1) / COLUMN_LANES), (unsigned)parts_of(rows));
    LAUNCH((dw_part_kernel<T, N, R>), grid, THREADS, 0, static_cast<const T *>(narrow), static_cast<const T *>(wide),
           parts, rows, (int)columns, (int)rank);
}

/* Calls f<T,N,R> with R enough for the rank; of 4 columns at a time (of f32, and where R is large: registers) or 8. */
#define AS_RANK(T, N, rank, f, ...)                                                                                    \
    if ((rank) <= 4) f<T, N, 4>(__VA_ARGS__);                                                                          \
    else if ((rank) <= 8) f<T, (N < 4 ? N : 4), 8>(__VA_ARGS__);                                                       \
    else f<T, (N < 4 ? N : 4), 16>(__VA_ARGS__)
#define AS_NARROW(type, wide, rank, f, ...)                                                                            \
    AS_TYPE(type, T, if ((wide) % widest<T>::count == 0) { AS_RANK(T, widest<T>::count, rank, f, __VA_ARGS__); } else {\
        AS_RANK(T, 1, rank, f, __VA_ARGS__);                                                                           \
    })

void launch_narrow_reduce(gpu_type type, const void *x, const narrow_weight *w, const void *add, void *y, int64_t rows,
                          int64_t depth, int64_t rank, float scale)
{
    AS_NARROW(type, depth, rank, reduce, x, *w, add, y, rows, depth, rank, scale);
}

void launch_narrow_expand(gpu_type type, const void *low, const narrow_weight *w, const void *add, void *y,
                          int64_t rows, int64_t columns, int64_t rank, float scale)
{
    AS_NARROW(type, columns, rank, expand, low, *w, add, y, rows, columns, rank, scale);
}

void launch_narrow_dw(gpu_type type, const void *narrow, const void *wide, const float *add, const narrow_weight *dw,
                      int64_t rows, int64_t columns, int64_t rank, float scale, float *parts)
{
    AS_NARROW(type, columns, rank, dw_parts, narrow, wide, parts, rows, columns, rank);
    LAUNCH(dw_sum_kernel, (unsigned)((rank * columns + THREADS - 1) / THREADS), THREADS, 0, parts, parts_of(rows), *dw,
           add, (int)rank, (int)columns, scale);
}
