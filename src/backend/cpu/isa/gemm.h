/* The small matrix product inside attention and linear_dw: C [rows, columns] (+)= A [rows, depth] B [depth, columns].
 *
 * A and B hold `units` of 32 bits: one float, or (with `pairs`, where the processor has VDPBF16PS) two bf16 that are
 * neighbours along the depth, so that depth counts pairs. A is read by broadcasting single units from anywhere
 * (a_row, a_step: distance of rows and of steps along the depth, in units); B and C have rows of whole vectors.
 * The caller pads rows to GEMM_ROWS and columns to VEC; depth is exact. With `tiled`, where there are tiles (tile.h),
 * it is they that multiply, which want more padding. Everything fits the first two cache levels. */
#ifndef LECO_BACKEND_CPU_ISA_GEMM_H
#define LECO_BACKEND_CPU_ISA_GEMM_H

#include "backend/cpu/isa/tile.h"

/* Sized so that the accumulators, one row of B and one broadcast fit the register file: 32 registers, or 16. */
#define GEMM_ROWS (VEC == 16 ? 8 : 4)
#define GEMM_ROWS_MOST 8

/* Rows, and units along the depth, of operands that tiles may multiply: with pairs, where there are tiles. */
#define GEMM_TILED_ROWS(pairs) (GEMM_TILES && (pairs) ? TILE : GEMM_ROWS)
#define GEMM_TILED_ROWS_MOST(pairs) (GEMM_TILES && (pairs) ? TILE : GEMM_ROWS_MOST)
#define GEMM_TILED_DEPTH(pairs) (GEMM_TILES && (pairs) ? TILE : 1)

#if defined(__AVX512BF16__) || GEMM_TILES
#define GEMM_PAIRS 1
#else
#define GEMM_PAIRS 0
#endif

typedef struct gemm {
    size_t rows, columns, depth;
    const unit *a;
    size_t a_row, a_step;
    const unit *b;
    size_t b_step;
    float *c;
    size_t c_row;
    bool accumulate; /* else C is overwritten */
    float *most;     /* [columns], or NULL: raised to the largest value of each column of C */
    bool tiled;      /* by tiles: rows, columns and depth are multiples of TILE, a_step is 1 and units are pairs */
} gemm;

INLINE vec gemm_step(vec sum, const unit *a, vec b, bool pairs)
{
#if defined(__AVX512BF16__)
    if (pairs) {
        return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32((int)*a), (__m512bh)b);
    }
#endif
    (void)pairs;
    float x;
    memcpy(&x, a, sizeof x);
    return sum + x * b;
}

/* GEMM_ROWS x vectors of C, held in registers throughout. */
INLINE void gemm_registers(const gemm *g, size_t row, size_t column, size_t vectors, bool pairs)
{
    vec sum[8][3];
    const unit *a = g->a + row * g->a_row, *b = g->b + column;
    float *c = g->c + row * g->c_row + column;
#pragma GCC unroll 8
    for (size_t r = 0; r < GEMM_ROWS; r++)
#pragma GCC unroll 3
        for (size_t v = 0; v < vectors; v++)
            sum[r][v] = g->accumulate ? vec_load(c, DTYPE_F32, r * g->c_row + v * VEC) : vec_zero();
    size_t a_row = g->a_row, a_step = g->a_step, b_step = g->b_step;
    for (size_t k = g->depth; k > 0; k--, a += a_step, b += b_step) {
        vec line[3];
#pragma GCC unroll 3
        for (size_t v = 0; v < vectors; v++) line[v] = vec_load(b, DTYPE_F32, v * VEC);
#pragma GCC unroll 8
        for (size_t r = 0; r < GEMM_ROWS; r++)
#pragma GCC unroll 3
            for (size_t v = 0; v < vectors; v++) sum[r][v] = gemm_step(sum[r][v], a + r * a_row, line[v], pairs);
    }
#pragma GCC unroll 8
    for (size_t r = 0; r < GEMM_ROWS; r++)
#pragma GCC unroll 3
        for (size_t v = 0; v < vectors; v++) vec_store(c, DTYPE_F32, r * g->c_row + v * VEC, sum[r][v]);
    if (!g->most) return;
#pragma GCC unroll 3
    for (size_t v = 0; v < vectors; v++) {
        vec most = vec_load(g->most, DTYPE_F32, column + v * VEC);
#pragma GCC unroll 8
        for (size_t r = 0; r < GEMM_ROWS; r++) most = vec_max(sum[r][v], most);
        vec_store(g->most, DTYPE_F32, column + v * VEC, most);
    }
}

INLINE void gemm_columns(const gemm *g, size_t column, size_t vectors, bool pairs)
{
    for (size_t row = 0; row < g->rows; row += GEMM_ROWS) gemm_registers(g, row, column, vectors, pairs);
}

/* Columns go by twos (threes read B less often, but leave awkward remainders). */
INLINE void gemm_all(const gemm *g, bool pairs)
{
    size_t column = 0, vectors = g->columns / VEC;
    for (; vectors >= 4 || vectors == 2; vectors -= 2, column += 2 * VEC) gemm_columns(g, column, 2, pairs);
    if (vectors == 3) gemm_columns(g, column, 3, pairs);
    if (vectors == 1) gemm_columns(g, column, 1, pairs);
}

static __attribute__((noinline)) void gemm_f32(const gemm *g)
{
    gemm_all(g, false);
}

#if GEMM_TILES

/* Up to 2 x 2 tiles of C, held throughout. */
INLINE void gemm_block(const gemm *g, size_t row, size_t column, bool lower, bool right)
{
    const unit *a = g->a + row * g->a_row, *b = g->b + column;
    float *c = g->c + row * g->c_row + column;
    const size_t down = TILE * g->c_row;
    tile_zero(0);
    tile_zero(1);
    tile_zero(2);
    tile_zero(3);
    if (g->accumulate) {
        tile_load(0, c, g->c_row);
        if (right) tile_load(1, c + TILE, g->c_row);
        if (lower) tile_load(2, c + down, g->c_row);
        if (lower && right) tile_load(3, c + down + TILE, g->c_row);
    }
    for (size_t k = 0; k < g->depth; k += TILE, a += TILE, b += TILE * g->b_step) {
        tile_load(6, b, g->b_step);
        tile_load(4, a, g->a_row);
        tile_product(0, 4, 6);
        if (lower) {
            tile_load(5, a + TILE * g->a_row, g->a_row);
            tile_product(2, 5, 6);
        }
        if (!right) continue;
        tile_load(7, b + TILE, g->b_step);
        tile_product(1, 4, 7);
        if (lower) tile_product(3, 5, 7);
    }
    tile_store(0, c, g->c_row);
    if (right) tile_store(1, c + TILE, g->c_row);
    if (lower) tile_store(2, c + down, g->c_row);
    if (lower && right) tile_store(3, c + down + TILE, g->c_row);
}

INLINE void gemm_raise_most(const gemm *g)
{
    for (size_t column = 0; column < g->columns; column += VEC) {
        vec most = vec_load(g->most, DTYPE_F32, column);
        for (size_t row = 0; row < g->rows; row++)
            most = vec_max(vec_load(g->c, DTYPE_F32, row * g->c_row + column), most);
        vec_store(g->most, DTYPE_F32, column, most);
    }
}

static __attribute__((noinline)) void gemm_tiles(const gemm *g)
{
    tiles_settle(g);
    for (size_t column = 0; column < g->columns; column += 2 * TILE)
        for (size_t row = 0; row < g->rows; row += 2 * TILE)
            gemm_block(g, row, column, row + TILE < g->rows, column + TILE < g->columns);
    if (g->most) gemm_raise_most(g);
}

#endif

#if defined(__AVX512BF16__)
static __attribute__((noinline)) void gemm_pairs(const gemm *g)
{
    gemm_all(g, true);
}
#else
#define gemm_pairs gemm_f32
#endif

INLINE void gemm_run(const gemm *g, bool pairs)
{
#if GEMM_TILES
    if (g->tiled) {
        gemm_tiles(g);
        return;
    }
#endif
    if (pairs)
        gemm_pairs(g);
    else
        gemm_f32(g);
}

#endif
