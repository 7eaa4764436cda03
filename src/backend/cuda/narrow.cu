/* Products with a side of at most 16, as LoRA's are: they are bound by memory and by how long a kernel takes to begin,
 * not by arithmetic, so each loads all it can before it uses any of it. R is the rank rounded up, N the elements of the
 * wide side that a thread moves at once. */
#include "backend/cuda/mma.cuh"

enum { THREADS = 256, WARPS = THREADS / 32 };

/* One row of a tensor [..,rank]. */
template <class T, int R> DEVICE void load_narrow(const T *row, int rank, float (&out)[R])
{
    if (rank == R) {
        const pack<T, R> all = *reinterpret_cast<const pack<T, R> *>(row);
        UNROLL
        for (int k = 0; k < R; k++) out[k] = to_float(all.at[k]);
    } else {
        UNROLL
        for (int k = 0; k < R; k++) out[k] = k < rank ? to_float(row[k]) : 0.0f;
    }
}

/* N elements of the weight along its wide side, of rank k; zeros where that is none. */
template <int N> DEVICE void load_wide(const narrow_weight &w, int k, int rank, int64_t i, float (&out)[N])
{
    if (w.wide_step == 1 && N % 4 == 0) {
        UNROLL
        for (int n = 0; n < N; n += 4) {
            pack<float, 4> four = {};
            if (k < rank) four = *reinterpret_cast<const pack<float, 4> *>(w.at + k * w.rank_step + i + n);
            UNROLL
            for (int m = 0; m < 4 && n + m < N; m++) out[n + m] = four.at[m];
        }
    } else {
        UNROLL
        for (int n = 0; n < N; n++) out[n] = k < rank ? w.at[k * w.rank_step + (i + n) * w.wide_step] : 0.0f;
    }
}

/* All ranks of N elements of the weight's wide side: in 16 bytes at a time along whichever side is contiguous. */
template <int N, int R> DEVICE void load_factors(const narrow_weight &w, int rank, int64_t i, float (&out)[R][N])
{
    if (w.rank_step == 1 && rank == R) {
        UNROLL
        for (int n = 0; n < N; n++) {
            UNROLL
            for (int k = 0; k < R; k += 4) {
                const pack<float, 4> four = *reinterpret_cast<const pack<float, 4> *>(w.at + k + (i + n) * w.wide_step);
                UNROLL
                for (int m = 0; m < 4; m++) out[k + m][n] = four.at[m];
            }
        }
    } else {
        UNROLL
        for (int k = 0; k < R; k++) load_wide<N>(w, k, rank, i, out[k]);
    }
}

/* ---- y [rows,rank] = scale * x [rows,depth] w + add, in f32 arithmetic: a warp has four rows ---- */

enum { WARP_ROWS = 4, BLOCK_ROWS = WARP_ROWS * WARPS };

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
            float factor[N];
            load_wide<N>(w, k, rank, i, factor);
            UNROLL
            for (int n = 0; n < N; n++) {
                UNROLL
                for (int r = 0; r < WARP_ROWS; r++) sum[r][k] += to_float(value[r].at[n]) * factor[n];
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

/* ---- the same on matrix units: a block has 16 rows, its warps share the depth ---- */

/* In a product the order of the depth is free, as long as both sides have the same: lane 4 g + t holds 8 neighbours
 * from 8 t on of 32, which are two fragments' columns. */
template <class T, int R>
__global__ void __launch_bounds__(THREADS)
    reduce_mma_kernel(const T *x, narrow_weight w, const T *add, T *y, int64_t rows, int depth, int rank, float scale)
{
    constexpr int TILES = R / 8;
    __shared__ float room[WARPS][16][R + 1];
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const int64_t first = (int64_t)blockIdx.x * 16;
    float c[TILES][4] = {};
    UNROLL_BY(4)
    for (int i = warp * 32 + 8 * t; i - 8 * t < depth; i += WARPS * 32) {
        uint4 a[2] = {};
        UNROLL
        for (int half = 0; half < 2; half++) {
            const int64_t row = first + g + 8 * half;
            if (i < depth && row < rows) a[half] = *reinterpret_cast<const uint4 *>(x + row * depth + i);
        }
        UNROLL
        for (int j = 0; j < TILES; j++) {
            float factor[8] = {};
            if (i < depth) load_wide<8>(w, g + 8 * j, rank, i, factor);
            const uint32_t left[4] = {a[0].x, a[1].x, a[0].y, a[1].y}, right[4] = {a[0].z, a[1].z, a[0].w, a[1].w};
            multiply_add<T>(c[j], left, pack2<T>(factor[0], factor[1]), pack2<T>(factor[2], factor[3]));
            multiply_add<T>(c[j], right, pack2<T>(factor[4], factor[5]), pack2<T>(factor[6], factor[7]));
        }
    }
    UNROLL
    for (int j = 0; j < TILES; j++) {
        UNROLL
        for (int k = 0; k < 4; k++) room[warp][g + k / 2 * 8][8 * j + 2 * t + k % 2] = c[j][k];
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < 16 * rank; i += THREADS) {
        if (first + i / rank >= rows) continue;
        float all = 0;
        UNROLL
        for (int k = 0; k < WARPS; k++) all += room[k][i / rank][i % rank];
        const int64_t at = first * rank + i;
        y[at] = from_float<T>(add ? scale * all + to_float(add[at]) : scale * all);
    }
}

/* ---- y [rows,columns] = scale * low [rows,rank] w + add: a thread has N columns of four rows ---- */

enum { THREAD_ROWS = 4 };

template <class T, int N, int R>
__global__ void __launch_bounds__(THREADS)
    expand_kernel(const T *low, narrow_weight w, const T *add, T *y, int64_t rows, int columns, int rank, float scale)
{
    const int64_t step = (rows + THREAD_ROWS - 1) / THREAD_ROWS, at = first_index();
    const int packs = columns / N, column = (int)(at % packs) * N;
    const int64_t first = at / packs;
    if (first >= step) return;
    pack<T, N> more[THREAD_ROWS] = {};
    float left[THREAD_ROWS][R];
    UNROLL
    for (int i = 0; i < THREAD_ROWS; i++) {
        const int64_t row = first + i * step < rows ? first + i * step : rows - 1;
        load_narrow<T, R>(low + row * rank, rank, left[i]);
        if (add) more[i] = *reinterpret_cast<const pack<T, N> *>(add + row * columns + column);
    }
    float sum[THREAD_ROWS][N] = {}, factor[R][N];
    load_factors<N, R>(w, rank, column, factor);
    UNROLL
    for (int k = 0; k < R; k++) {
        UNROLL
        for (int i = 0; i < THREAD_ROWS; i++) {
            UNROLL
            for (int n = 0; n < N; n++) sum[i][n] += left[i][k] * factor[k][n];
        }
    }
    UNROLL
    for (int i = 0; i < THREAD_ROWS; i++) {
        if (first + i * step >= rows) break;
        pack<T, N> out;
        UNROLL
        for (int n = 0; n < N; n++)
            out.at[n] = from_float<T>(add ? scale * sum[i][n] + to_float(more[i].at[n]) : scale * sum[i][n]);
        *reinterpret_cast<pack<T, N> *>(y + (first + i * step) * columns + column) = out;
    }
}

/* ---- dw = scale * narrow [rows,rank]^T wide [rows,columns] + add ----
 * A block has 8 packs of columns and 32 rows at a time. Where rows are many, blocks take parts of them, which are added
 * up in their order. */

enum { PACKS = 8, ROW_LANES = THREADS / PACKS, PART_ROWS = 256, ROWS_AHEAD = 4 };

static int64_t parts_of(int64_t rows)
{
    return (rows + PART_ROWS - 1) / PART_ROWS;
}

size_t narrow_dw_scratch(int64_t rows, int64_t columns, int64_t rank)
{
    return parts_of(rows) > 1 ? (size_t)(parts_of(rows) * columns * rank) * sizeof(float) : 0;
}

/* `parts` is where sums go if there is more than one part, [parts,rank,columns]. */
template <class T, int N, int R>
__global__ void __launch_bounds__(THREADS) dw_kernel(const T *narrow, const T *wide, float *parts, narrow_weight dw,
                                                     const float *add, int64_t rows, int columns, int rank, float scale)
{
    __shared__ float room[WARPS][R][PACKS * N];
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    const int column = ((int)blockIdx.x * PACKS + lane % PACKS) * N;
    const int64_t end = rows * (blockIdx.y + 1) / gridDim.y;
    float sum[R][N] = {};
    for (int64_t row = rows * blockIdx.y / gridDim.y + threadIdx.x / PACKS; row < end; row += ROWS_AHEAD * ROW_LANES) {
        pack<T, N> right[ROWS_AHEAD] = {};
        float left[ROWS_AHEAD][R] = {};
        UNROLL
        for (int i = 0; i < ROWS_AHEAD; i++) {
            const int64_t at = row + i * ROW_LANES;
            if (at >= end || column >= columns) continue;
            right[i] = *reinterpret_cast<const pack<T, N> *>(wide + at * columns + column);
            load_narrow<T, R>(narrow + at * rank, rank, left[i]);
        }
        UNROLL
        for (int i = 0; i < ROWS_AHEAD; i++) {
            if (row + i * ROW_LANES >= end || column >= columns) continue;
            UNROLL
            for (int k = 0; k < R; k++) {
                UNROLL
                for (int n = 0; n < N; n++) sum[k][n] += left[i][k] * to_float(right[i].at[n]);
            }
        }
    }
    UNROLL
    for (int k = 0; k < R; k++) {
        UNROLL
        for (int n = 0; n < N; n++) { /* over the four rows of a warp */
            float all = sum[k][n];
            all += __shfl_xor_sync(0xffffffffu, all, 8);
            all += __shfl_xor_sync(0xffffffffu, all, 16);
            if (lane < PACKS) room[warp][k][lane * N + n] = all;
        }
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < rank * PACKS * N; i += THREADS) {
        const int k = i / (PACKS * N), c = i % (PACKS * N), to = (int)blockIdx.x * PACKS * N + c;
        if (to >= columns) continue;
        float all = 0;
        UNROLL
        for (int r = 0; r < WARPS; r++) all += room[r][k][c];
        if (gridDim.y > 1) {
            parts[((int64_t)blockIdx.y * rank + k) * columns + to] = all;
            continue;
        }
        const int64_t at = k * dw.rank_step + to * dw.wide_step;
        const_cast<float *>(dw.at)[at] = add ? scale * all + add[at] : scale * all;
    }
}

__global__ void __launch_bounds__(THREADS) dw_sum_kernel(const float *parts, int part_count, narrow_weight dw,
                                                         const float *add, int rank, int columns, float scale)
{
    const int64_t i = first_index(), count = (int64_t)rank * columns;
    if (i >= count) return;
    float all = 0;
    UNROLL_BY(8)
    for (int part = 0; part < part_count; part++) all += parts[part * count + i];
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

template <class T, int R>
static void reduce_mma(const void *x, const narrow_weight &w, const void *add, void *y, int64_t rows, int64_t depth,
                       int64_t rank, float scale)
{
    LAUNCH((reduce_mma_kernel<T, R>), (unsigned)((rows + 15) / 16), THREADS, 0, static_cast<const T *>(x), w,
           static_cast<const T *>(add), static_cast<T *>(y), rows, (int)depth, (int)rank, scale);
}

template <class T, int N, int R>
static void expand(const void *low, const narrow_weight &w, const void *add, void *y, int64_t rows, int64_t columns,
                   int64_t rank, float scale)
{
    const int64_t threads = (rows + THREAD_ROWS - 1) / THREAD_ROWS * (columns / N);
    LAUNCH((expand_kernel<T, N, R>), (unsigned)((threads + THREADS - 1) / THREADS), THREADS, 0,
           static_cast<const T *>(low), w, static_cast<const T *>(add), static_cast<T *>(y), rows, (int)columns,
           (int)rank, scale);
}

template <class T, int N, int R>
static void narrow_dw(const void *narrow, const void *wide, const float *add, const narrow_weight &dw, int64_t rows,
                      int64_t columns, int64_t rank, float scale, float *parts)
{
    const dim3 grid((unsigned)((columns / N + PACKS - 1) / PACKS), (unsigned)parts_of(rows));
    LAUNCH((dw_kernel<T, N, R>), grid, THREADS, 0, static_cast<const T *>(narrow), static_cast<const T *>(wide), parts,
           dw, add, rows, (int)columns, (int)rank, scale);
    if (grid.y > 1)
        LAUNCH(dw_sum_kernel, (unsigned)((rank * columns + THREADS - 1) / THREADS), THREADS, 0, parts, (int)grid.y, dw,
               add, (int)rank, (int)columns, scale);
}

/* Calls f<T,N,R> with R enough for the rank; N no more than 4 where R is large: registers. */
#define AS_RANK(T, N, rank, f, ...)                                                                                    \
    if ((rank) <= 4)                                                                                                   \
        f<T, N, 4>(__VA_ARGS__);                                                                                       \
    else if ((rank) <= 8)                                                                                              \
        f<T, (N < 4 ? N : 4), 8>(__VA_ARGS__);                                                                         \
    else                                                                                                               \
        f<T, (N < 4 ? N : 4), 16>(__VA_ARGS__)
#define AS_NARROW(type, wide, rank, f, ...)                                                                            \
    AS_TYPE(                                                                                                           \
        type, T, if ((wide) % widest<T>::count == 0) { AS_RANK(T, widest<T>::count, rank, f, __VA_ARGS__); } else {    \
            AS_RANK(T, 1, rank, f, __VA_ARGS__);                                                                       \
        })

void launch_narrow_reduce(gpu_type type, const void *x, const narrow_weight *w, const void *add, void *y, int64_t rows,
                          int64_t depth, int64_t rank, float scale)
{
    if (type == GPU_F32 || depth % 8 != 0) {
        AS_NARROW(type, depth, rank, reduce, x, *w, add, y, rows, depth, rank, scale);
    } else if (rank <= 8) {
        AS_HALF(type, T, reduce_mma<T, 8>(x, *w, add, y, rows, depth, rank, scale));
    } else {
        AS_HALF(type, T, reduce_mma<T, 16>(x, *w, add, y, rows, depth, rank, scale));
    }
}

void launch_narrow_expand(gpu_type type, const void *low, const narrow_weight *w, const void *add, void *y,
                          int64_t rows, int64_t columns, int64_t rank, float scale)
{
    AS_NARROW(type, columns, rank, expand, low, *w, add, y, rows, columns, rank, scale);
}

void launch_narrow_dw(gpu_type type, const void *narrow, const void *wide, const float *add, const narrow_weight *dw,
                      int64_t rows, int64_t columns, int64_t rank, float scale, float *parts)
{
    AS_NARROW(type, columns, rank, narrow_dw, narrow, wide, add, *dw, rows, columns, rank, scale, parts);
}
