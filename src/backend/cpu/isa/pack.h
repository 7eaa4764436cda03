/* Bringing rows of a tensor into the units that gemm.h reads. `pairs` is constant where these are inlined. */
#ifndef LECO_BACKEND_CPU_ISA_PACK_H
#define LECO_BACKEND_CPU_ISA_PACK_H

#include "backend/cpu/isa/gemm.h"

/* Elements in a unit. */
INLINE size_t unit_width(bool pairs)
{
    return pairs ? 2 : 1;
}

INLINE size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

/* Rows of a matrix: element (r, c) of `type` is at base[r * stride + c]. */
typedef struct rows {
    const void *base;
    dtype type;
    size_t stride, count, width;
} rows;

/* Two neighbours along the depth, lanes interleaved. */
INLINE vecu pack_two(vech low, vech high)
{
    return __builtin_convertvector(low, vecu) | __builtin_convertvector(high, vecu) << 16;
}

/* The same from floats. */
INLINE vecu pack_two_floats(vec low, vec high)
{
#if GEMM_PAIRS
    const __m512i weave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (vecu)_mm512_permutexvar_epi16(weave, (__m512i)_mm512_cvtne2ps_pbh(high, low));
#else
    return pack_two(vec_to_bf16(low), vec_to_bf16(high));
#endif
}

INLINE size_t units_of(size_t elements, bool pairs)
{
    return (elements + unit_width(pairs) - 1) / unit_width(pairs);
}

/* The same as a gemm's depth: where tiles multiply, filled up to whole ones, with zeros. */
INLINE size_t depth_of(size_t elements, bool pairs)
{
    return round_up(units_of(elements, pairs), GEMM_TILED_DEPTH(pairs));
}

/* dst [padded][units], units at least those of a row: each row as it is, zeros behind it; rows from m.count to `padded`
 * are zero. */
INLINE void pack_rows(unit *dst, rows m, size_t padded, size_t units, bool pairs)
{
    const size_t used = units_of(m.width, pairs);
    for (size_t r = 0; r < m.count; r++, dst += units) {
        memset(dst + used, 0, (units - used) * sizeof(unit));
        if (pairs) {
            dst[used - 1] = 0;
            memcpy(dst, (const bf16 *)m.base + r * m.stride, m.width * sizeof(bf16));
        } else {
            size_t c = 0;
            for (; c + VEC <= m.width; c += VEC)
                vec_store(dst, DTYPE_F32, c, vec_load(m.base, m.type, r * m.stride + c));
            if (c < m.width) {
                vec tail = vec_load_part(m.base, m.type, r * m.stride + c, m.width - c);
                vec_store_part(dst, DTYPE_F32, c, tail, m.width - c);
            }
        }
    }
    memset(dst, 0, (padded - m.count) * units * sizeof(unit));
}

INLINE vech load_halves(const bf16 *from, size_t count)
{
    vech h = {0};
    memcpy(&h, from, count * sizeof(bf16));
    return h;
}

/* dst [ceil(count / unit_width)][padded_width]: with pairs, rows 2i and 2i+1 woven together; else the rows. Columns
 * from m.width to padded_width are zero, and so is the missing partner of a last odd row. */
INLINE void pack_woven(unit *dst, rows m, size_t padded_width, bool pairs)
{
    for (size_t r = 0; r < m.count; r += unit_width(pairs), dst += padded_width) {
        memset(dst + m.width, 0, (padded_width - m.width) * sizeof(unit));
        size_t c = 0;
        for (; c < m.width; c += VEC) {
            size_t part = m.width - c < VEC ? m.width - c : VEC;
            if (!pairs) {
                vec_store_part(dst, DTYPE_F32, c, vec_load_part(m.base, m.type, r * m.stride + c, part), part);
                continue;
            }
            const bf16 *low = (const bf16 *)m.base + r * m.stride + c, *high = low + m.stride;
            bool last = r + 1 == m.count;
            vech zero = {0};
            if (part == VEC) {
                vecu two = pack_two(load_halves(low, VEC), last ? zero : load_halves(high, VEC));
                memcpy(dst + c, &two, sizeof two);
            } else {
                vecu two = pack_two(load_halves(low, part), last ? zero : load_halves(high, part));
                memcpy(dst + c, &two, part * sizeof(unit));
            }
        }
    }
}

/* Zeros in the rows of dst [to][width] behind those that pack_woven wrote. */
INLINE void pack_zeros(unit *dst, size_t from, size_t to, size_t width)
{
    if (from < to) memset(dst + from * width, 0, (to - from) * width * sizeof(unit));
}

/* Turns a square of VEC x VEC floats (or units) in registers: log2 VEC rounds, each swapping blocks of half the size.
 */
INLINE void turn_square(vec row[VEC])
{
#pragma GCC unroll 4
    for (int h = VEC / 2; h > 0; h /= 2) {
        veci low, high; /* lanes from the first operand count from 0, from the second from VEC */
        for (int l = 0; l < VEC; l++) {
            low[l] = (l & h) == 0 ? l : VEC + l - h;
            high[l] = (l & h) == 0 ? l + h : VEC + l;
        }
#pragma GCC unroll 16
        for (int i = 0; i < VEC; i++) {
            if (i & h) continue;
            vec a = row[i], b = row[i + h];
            row[i] = __builtin_shuffle(a, b, low);
            row[i + h] = __builtin_shuffle(a, b, high);
        }
    }
}

/* dst [units][lanes] = the transpose of src [lanes][units]; lanes are whole vectors. Up to VEC - 1 units behind the end
 * of src are read, and not used. */
INLINE void pack_transpose(unit *dst, const unit *src, size_t lanes, size_t units)
{
    for (size_t i = 0; i < lanes; i += VEC)
        for (size_t u = 0; u < units; u += VEC) {
            vec row[VEC];
#pragma GCC unroll 16
            for (size_t k = 0; k < VEC; k++) row[k] = vec_load(src, DTYPE_F32, (i + k) * units + u);
            turn_square(row);
            size_t count = units - u < VEC ? units - u : VEC;
#pragma GCC unroll 16
            for (size_t k = 0; k < VEC; k++)
                if (k < count) vec_store(dst, DTYPE_F32, (u + k) * lanes + i, row[k]);
        }
}

/* What a gemm that is tiled wants where A lies the other way round: dst [padded_width][depth] = the columns of m, by
 * pairs of rows, zeros behind them. woven [depth][padded_width]: room; both dimensions are whole vectors. */
INLINE void pack_columns(unit *dst, unit *woven, rows m, size_t padded_width, size_t depth)
{
    pack_woven(woven, m, padded_width, true);
    pack_zeros(woven, units_of(m.count, true), depth, padded_width);
    pack_transpose(dst, woven, depth, padded_width);
}

/* The way back: rows [lane] of a tensor get the first m.count lanes of src [height][lanes], height >= m.width rounded
 * up to VEC or readable that far; each lane times its factor. */
INLINE void unpack_columns(rows m, void *to, const float *src, size_t lanes, const float *factor)
{
    for (size_t i = 0; i < m.count; i += VEC) {
        vec scale = vec_load(factor, DTYPE_F32, i);
        size_t count = m.count - i < VEC ? m.count - i : VEC;
        for (size_t d = 0; d < m.width; d += VEC) {
            vec row[VEC];
#pragma GCC unroll 16
            for (size_t k = 0; k < VEC; k++) row[k] = vec_load(src, DTYPE_F32, (d + k) * lanes + i) * scale;
            turn_square(row);
            size_t width = m.width - d < VEC ? m.width - d : VEC;
#pragma GCC unroll 16
            for (size_t k = 0; k < VEC; k++) {
                if (k >= count) continue;
                if (width == VEC)
                    vec_store(to, m.type, (i + k) * m.stride + d, row[k]);
                else
                    vec_store_part(to, m.type, (i + k) * m.stride + d, row[k], width);
            }
        }
    }
}

#endif
