/* The tiles of AMX: eight registers of TILE rows of TILE units, and the product of two of them. With ISA_TILE_TWIN the
 * same in plain C, for tests on processors that have none. Registers are literals, as the instructions want them:
 *     C: 0 to 3; A: 4, 5; B: 6, 7
 * A thread's tiles are there between tiles_begin and tiles_end; oneDNN, which sets them up in its own way, isn't called
 * between these. Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18. */
#ifndef LECO_BACKEND_CPU_ISA_TILE_H
#define LECO_BACKEND_CPU_ISA_TILE_H

#include "backend/cpu/isa/vec.h"

#if defined(__AMX_BF16__) || defined(ISA_TILE_TWIN)
#define GEMM_TILES 1
#else
#define GEMM_TILES 0
#endif

#define TILE 16
#define TILES 8

typedef uint32_t unit;

#if defined(ISA_TILE_TWIN)

static _Thread_local unit tile_register[TILES][TILE][TILE];

INLINE void tiles_settle(const void *read)
{
    (void)read;
}

INLINE void tiles_begin(void)
{
    memset(tile_register, 0xff, sizeof tile_register); /* NaN, which a use without a load shows */
}

INLINE void tiles_end(void)
{
}

INLINE void tile_zero_twin(int t)
{
    memset(tile_register[t], 0, sizeof tile_register[t]);
}

INLINE void tile_load_twin(int t, const void *base, size_t stride)
{
    for (size_t r = 0; r < TILE; r++)
        memcpy(tile_register[t][r], (const unit *)base + r * stride, sizeof tile_register[t][r]);
}

INLINE void tile_store_twin(int t, void *base, size_t stride)
{
    for (size_t r = 0; r < TILE; r++) memcpy((unit *)base + r * stride, tile_register[t][r], TILE * sizeof(unit));
}

INLINE float tile_half(unit u, bool high)
{
    const unit bits = high ? u & 0xffff0000u : u << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

INLINE void tile_product_twin(int c, int a, int b)
{
    for (size_t r = 0; r < TILE; r++) {
        float sum[TILE];
        memcpy(sum, tile_register[c][r], sizeof sum);
        for (size_t k = 0; k < TILE; k++)
            for (size_t j = 0; j < TILE; j++)
                for (int high = 0; high < 2; high++)
                    sum[j] += tile_half(tile_register[a][r][k], high) * tile_half(tile_register[b][k][j], high);
        memcpy(tile_register[c][r], sum, sizeof sum);
    }
}

#define tile_zero(t) tile_zero_twin(t)
#define tile_load(t, base, stride) tile_load_twin(t, base, stride)
#define tile_store(t, base, stride) tile_store_twin(t, base, stride)
#define tile_product(c, a, b) tile_product_twin(c, a, b)

#elif GEMM_TILES

/* gcc isn't told what these instructions read: what was written before has to be in memory by then. */
INLINE void tiles_settle(const void *read)
{
    __asm__ volatile("" ::"r"(read) : "memory");
}

INLINE void tiles_begin(void)
{
    /* Palette 1: the bytes of a row and the rows of each tile, from bytes 16 and 48 on. */
    struct {
        uint8_t palette, first, zero[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } layout = {.palette = 1};
    for (int t = 0; t < TILES; t++) {
        layout.row_bytes[t] = TILE * sizeof(unit);
        layout.rows[t] = TILE;
    }
    tiles_settle(&layout);
    _tile_loadconfig(&layout);
}

INLINE void tiles_end(void)
{
    _tile_release();
}

#define tile_zero(t) _tile_zero(t)
#define tile_load(t, base, stride) _tile_loadd(t, base, (stride) * sizeof(unit))
#define tile_store(t, base, stride) _tile_stored(t, base, (stride) * sizeof(unit))
#define tile_product(c, a, b) _tile_dpbf16ps(c, a, b)

#else

INLINE void tiles_begin(void)
{
}

INLINE void tiles_end(void)
{
}

#endif

#endif
