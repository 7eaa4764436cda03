/* Attention and its gradient on matrix units, for types of 16 bits and heads of up to 160 channels (a multiple of 8).
 *
 * Nothing of the size queries x keys is kept: a block walks over tiles of the other side and computes scores again
 * where they are needed (Dao, FlashAttention-2, arXiv 2307.08691). dk and dv are summed by the blocks of keys, dq by
 * blocks of queries: that takes seven products where five would do with atomic additions, but gives the same bits every
 * time.
 *
 * P is the width of a head, rounded up to a multiple of 16; a row in shared memory is 8 elements longer, so that the
 * eight rows of a matrix lie in different banks. */
#ifndef LECO_CUDA_ATTENTION_TILES_H
#define LECO_CUDA_ATTENTION_TILES_H

#include <type_traits>

#include "backend/cuda/mma.cuh"

enum { WARPS = 4, THREADS = 32 * WARPS };

#define LOG2_E 1.4426950408889634f
#define LN_2 0.6931471805599453f

/* The sizes of tiles for a width P. Those of f16 are no larger than the 64 KiB of shared memory that a block can have
 * on Turing, the one architecture that has nothing better. */
template <class T, int P> struct tiles {
    static constexpr bool cramped = std::is_same<T, f16>::value;
    static constexpr int row = P + 8;
    static constexpr int groups = P <= 80 ? 2 : 1;                  /* of 16 queries a warp has, forward */
    static constexpr int queries = 16 * WARPS * groups;             /* of a block, forward */
    static constexpr int keys = P <= (cramped ? 64 : 96) ? 64 : 32; /* of a step */
    static constexpr int own_groups = P <= 64 ? 2 : 1;              /* of 16 rows a warp has, backward */
    static constexpr int own = 16 * WARPS * own_groups;             /* rows of a block, backward */
    static constexpr int roomy_met = P > 64 && P <= 96 ? 64 : 32, cramped_met = P <= 96 ? 32 : 16;
    static constexpr int met = cramped ? cramped_met : roomy_met; /* rows of a step, backward */
    static constexpr size_t forward_elements = (size_t)row * (queries + 2 * 2 * keys);
    static constexpr size_t backward_elements = (size_t)row * (2 * own + 2 * 2 * met);
};

/* One head of a tensor [batch,rows,heads*width]. */
template <class T> struct head_rows {
    T *start;
    int64_t step, rows;
    int width;
};

template <class T> DEVICE head_rows<T> head_of(const attention_shape &s, T *x, int64_t rows)
{
    head_rows<T> h;
    h.step = s.heads * s.width;
    h.start = x + (int64_t)blockIdx.z * rows * h.step + (int64_t)blockIdx.y * s.width;
    h.rows = rows;
    h.width = (int)s.width;
    return h;
}

/* Starts copying rows [first, first + R) into room; zeros behind the last row and the last channel. */
template <class T, int P, int R> DEVICE void copy_rows(const head_rows<const T> &h, int64_t first, T *room)
{
    constexpr int CHUNKS = P / 8;
    UNROLL
    for (int i = (int)threadIdx.x; i < R * CHUNKS; i += THREADS) {
        const int row = i / CHUNKS, c = i % CHUNKS * 8;
        const bool there = first + row < h.rows && c < h.width;
        const T *from = h.start + (there ? (first + row) * h.step + c : 0);
        copy_async(room + row * (P + 8) + c, from, there);
    }
}

/* Where lane i points for load_matrices: an A fragment of 16 rows from `row`, 16 columns from `column`. */
template <class T, int P> DEVICE const T *a_rows(const T *room, int row, int column)
{
    const int lane = (int)threadIdx.x % 32;
    return room + (row + lane % 16) * (P + 8) + column + lane / 16 * 8;
}

/* Two B fragments (16 deep, 8 wide each) of the matrix whose columns are the 16 rows from `row`. */
template <class T, int P> DEVICE const T *b_rows(const T *room, int row, int column)
{
    const int lane = (int)threadIdx.x % 32;
    return room + (row + lane / 16 * 8 + lane % 8) * (P + 8) + column + lane / 8 % 2 * 8;
}

/* Two B fragments of the matrix itself, 16 rows from `row`, 16 columns from `column`: transposed when loaded. */
template <class T, int P> DEVICE const T *b_columns(const T *room, int row, int column)
{
    const int lane = (int)threadIdx.x % 32;
    return room + (row + lane / 8 % 2 * 8 + lane % 8) * (P + 8) + column + lane / 16 * 8;
}

/* c[g] [16,N] += a rows^T for G groups of 16 rows of a from a_row on; rows [N,P]. */
template <class T, int P, int N, int G>
DEVICE void multiply_rows(float (&c)[G][N / 8][4], const T *a, int a_row, const T *rows)
{
    UNROLL
    for (int d = 0; d < P / 16; d++) {
        uint32_t left[G][4];
        UNROLL
        for (int g = 0; g < G; g++) load_matrices(left[g], a_rows<T, P>(a, a_row + 16 * g, 16 * d));
        UNROLL
        for (int j = 0; j < N / 16; j++) {
            uint32_t b[4];
            load_matrices(b, b_rows<T, P>(rows, 16 * j, 16 * d));
            UNROLL
            for (int g = 0; g < G; g++) {
                multiply_add<T>(c[g][2 * j], left[g], b[0], b[1]);
                multiply_add<T>(c[g][2 * j + 1], left[g], b[2], b[3]);
            }
        }
    }
}

/* c[g] [16,P] += p[g] [16,N] rows, p in f32 as multiply_rows left it, rounded to T here. */
template <class T, int P, int N, int G>
DEVICE void multiply_columns(float (&c)[G][P / 8][4], const float (&p)[G][N / 8][4], const T *rows)
{
    UNROLL
    for (int j = 0; j < N / 16; j++) {
        uint32_t left[G][4];
        UNROLL
        for (int g = 0; g < G; g++) {
            UNROLL
            for (int i = 0; i < 4; i++)
                left[g][i] = pack2<T>(p[g][2 * j + i / 2][i % 2 * 2], p[g][2 * j + i / 2][i % 2 * 2 + 1]);
        }
        UNROLL
        for (int d = 0; d < P / 16; d++) {
            uint32_t b[4];
            load_matrices_transposed(b, b_columns<T, P>(rows, 16 * j, 16 * d));
            UNROLL
            for (int g = 0; g < G; g++) {
                multiply_add<T>(c[g][2 * d], left[g], b[0], b[1]);
                multiply_add<T>(c[g][2 * d + 1], left[g], b[2], b[3]);
            }
        }
    }
}

/* Over the four lanes that share a row of C. */
DEVICE float quad_sum(float value)
{
    value += __shfl_xor_sync(0xffffffffu, value, 1);
    return value + __shfl_xor_sync(0xffffffffu, value, 2);
}
DEVICE float quad_most(float value)
{
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 1));
    return fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 2));
}

/* Stores factor * c [16,P] as rows first + 16 * ... of h, those that exist. */
template <class T, int P>
DEVICE void store_rows(const head_rows<T> &h, int64_t first, const float (*c)[4], const float factor[2])
{
    const int lane = (int)threadIdx.x % 32;
    UNROLL
    for (int half = 0; half < 2; half++) {
        const int64_t row = first + lane / 4 + 8 * half;
        if (row >= h.rows) continue;
        UNROLL
        for (int j = 0; j < P / 8; j++) {
            const int column = 8 * j + 2 * (lane % 4);
            if (column >= h.width) continue;
            *reinterpret_cast<uint32_t *>(h.start + row * h.step + column) =
                pack2<T>(c[j][2 * half] * factor[half], c[j][2 * half + 1] * factor[half]);
        }
    }
}

static inline dim3 grid_of(const attention_shape *s, int64_t rows, int tile)
{
    return dim3((unsigned)((rows + tile - 1) / tile), (unsigned)s->heads, (unsigned)s->batch);
}

/* Shared memory of a block, forward and backward. */
template <class T, int P> static inline size_t forward_bytes(void)
{
    return tiles<T, P>::forward_elements * sizeof(T);
}
template <class T, int P> static inline size_t backward_bytes(void)
{
    return tiles<T, P>::backward_elements * sizeof(T) + 2 * tiles<T, P>::met * sizeof(float);
}

/* Calls f<T,P> for the least P of those below that is enough. */
#define AS_WIDTH(width, T, f, ...)                                                                                     \
    if ((width) <= 32)                                                                                                 \
        f<T, 32>(__VA_ARGS__);                                                                                         \
    else if ((width) <= 48)                                                                                            \
        f<T, 48>(__VA_ARGS__);                                                                                         \
    else if ((width) <= 64)                                                                                            \
        f<T, 64>(__VA_ARGS__);                                                                                         \
    else if ((width) <= 80)                                                                                            \
        f<T, 80>(__VA_ARGS__);                                                                                         \
    else if ((width) <= 128)                                                                                           \
        f<T, 128>(__VA_ARGS__);                                                                                        \
    else                                                                                                               \
        f<T, 160>(__VA_ARGS__)

#endif
