/* Vectors of floats as wide as the instruction set this file is compiled for, and the functions the kernels need.
 *
 * Written with GCC's vector extensions, which lower to whatever the target has; intrinsics only where the compiler
 * would miss an instruction that matters. Loads and stores take a dtype (F32 or BF16) that is a constant wherever they
 * are inlined; arithmetic is always f32. */
#ifndef LECO_BACKEND_CPU_ISA_VEC_H
#define LECO_BACKEND_CPU_ISA_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/dtype.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#define VEC 16
#elif defined(__AVX2__)
#define VEC 8
#else
#define VEC 4
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(VEC * 4)));
typedef int32_t veci __attribute__((vector_size(VEC * 4)));
typedef uint32_t vecu __attribute__((vector_size(VEC * 4)));
typedef uint16_t vech __attribute__((vector_size(VEC * 2)));

INLINE vec vec_set(float x)
{
    return x - (vec){0};
}

INLINE vec vec_zero(void)
{
    return (vec){0};
}

INLINE vec vec_select(veci mask, vec yes, vec no)
{
    return (vec)((mask & (veci)yes) | (~mask & (veci)no));
}

/* NaN in a comes through; NaN in b does where a is one too: callers put the value of interest first. */
INLINE vec vec_max(vec a, vec b)
{
#if defined(__AVX512F__)
    return _mm512_max_ps(b, a);
#else
    return vec_select(b > a, b, a);
#endif
}

INLINE vec vec_min(vec a, vec b)
{
#if defined(__AVX512F__)
    return _mm512_min_ps(b, a);
#else
    return vec_select(b < a, b, a);
#endif
}

INLINE vec vec_from_bf16(vech h)
{
    return (vec)(__builtin_convertvector(h, vecu) << 16);
}

/* Round to nearest even; NaN stays NaN. */
INLINE vech vec_to_bf16(vec x)
{
#if defined(__AVX512BF16__)
    return (vech)_mm512_cvtneps_pbh(x);
#else
    vecu bits = (vecu)x;
    vecu rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
    vecu nan = (vecu)(x != x);
    bits = ((nan & (bits | 0x00400000u)) | (~nan & rounded)) >> 16;
    return __builtin_convertvector(bits, vech);
#endif
}

INLINE vec vec_load(const void *base, dtype type, size_t index)
{
    if (type == DTYPE_BF16) {
        vech h;
        memcpy(&h, (const bf16 *)base + index, sizeof h);
        return vec_from_bf16(h);
    }
    vec v;
    memcpy(&v, (const float *)base + index, sizeof v);
    return v;
}

INLINE void vec_store(void *base, dtype type, size_t index, vec v)
{
    if (type == DTYPE_BF16) {
        vech h = vec_to_bf16(v);
        memcpy((bf16 *)base + index, &h, sizeof h);
    } else {
        memcpy((float *)base + index, &v, sizeof v);
    }
}

/* The first `count` <= VEC elements; the rest are zero. A constant count of VEC compiles to the whole load. */
INLINE vec vec_load_part(const void *base, dtype type, size_t index, size_t count)
{
    if (count == VEC) return vec_load(base, type, index);
#if defined(__AVX512F__)
    __mmask16 mask = (__mmask16)((1u << count) - 1u);
    if (type == DTYPE_BF16) return vec_from_bf16((vech)_mm256_maskz_loadu_epi16(mask, (const bf16 *)base + index));
    return _mm512_maskz_loadu_ps(mask, (const float *)base + index);
#else
    if (type == DTYPE_BF16) {
        vech h = {0};
        memcpy(&h, (const bf16 *)base + index, count * sizeof(bf16));
        return vec_from_bf16(h);
    }
    vec v = {0};
    memcpy(&v, (const float *)base + index, count * sizeof(float));
    return v;
#endif
}

INLINE void vec_store_part(void *base, dtype type, size_t index, vec v, size_t count)
{
    if (count == VEC) {
        vec_store(base, type, index, v);
        return;
    }
#if defined(__AVX512F__)
    __mmask16 mask = (__mmask16)((1u << count) - 1u);
    if (type == DTYPE_BF16)
        _mm256_mask_storeu_epi16((bf16 *)base + index, mask, (__m256i)vec_to_bf16(v));
    else
        _mm512_mask_storeu_ps((float *)base + index, mask, v);
#else
    vech h = vec_to_bf16(v);
    if (type == DTYPE_BF16)
        memcpy((bf16 *)base + index, &h, count * sizeof(bf16));
    else
        memcpy((float *)base + index, &v, count * sizeof(float));
#endif
}

/* Whether any lane of a comparison's result is true. */
INLINE int vec_any(veci mask)
{
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#else
    int any = 0;
    for (int i = 0; i < VEC; i++) any |= mask[i];
    return any != 0;
#endif
}

/* first, first + 1, ... */
INLINE veci vec_count_from(int first)
{
    veci index;
#pragma GCC unroll 16
    for (int i = 0; i < VEC; i++) index[i] = i;
    return index + first;
}

INLINE float vec_sum(vec v)
{
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps(v);
#else
    float total = 0;
    for (int i = 0; i < VEC; i++) total += v[i];
    return total;
#endif
}

/* p * 2^n for integral n in [-126, 127]. */
INLINE vec vec_scale_by_power(vec p, vec n)
{
#if defined(__AVX512F__)
    return _mm512_scalef_ps(p, n);
#else
    return p * (vec)((__builtin_convertvector(n, veci) + 127) << 23);
#endif
}

/* Unoptimised, two intrinsics here are macros whose mask of -1 draws a warning. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"

INLINE vec vec_round(vec x)
{
#if defined(__AVX512F__)
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    const vec magic = vec_set(12582912.0f); /* 1.5 * 2^23: adding it leaves no bits for a fraction */
    return (x + magic) - magic;
#endif
}

/* 2^x for x <= 127; what is below 2^-126 comes out as at most that. NaN stays NaN. Relative error of the polynomials:
 * 7.5e-8 (whole), 7.5e-5 (rough, for results that are rounded to bf16 anyway). */
INLINE vec vec_exp2(vec x, int rough)
{
#if defined(__AVX512F__)
    /* Polynomials on [0, 1): the reduction gives x - floor(x), and the scaling takes the floor of x itself. */
    vec f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC), p;
    if (rough) {
        p = 0.07802452353818497f * f + 0.22606716467458818f;
        p = p * f + 0.6958335313258684f;
        p = p * f + 0.999925220095663f;
    } else {
        p = 0.0018775766856996541f * f + 0.008989340231239628f;
        p = p * f + 0.055826317756777974f;
        p = p * f + 0.24015361723415685f;
        p = p * f + 0.693153073157524f;
        p = p * f + 0.9999999250659602f;
    }
    return _mm512_scalef_ps(p, x);
#else
    /* Polynomials on [-1/2, 1/2]. */
    x = vec_max(x, vec_set(-126.0f));
    vec n = vec_round(x), f = x - n, p;
    if (rough) {
        p = 0.055171669692703006f * f + 0.2426111296840646f;
        p = p * f + 0.693260985992047f;
        p = p * f + 0.999928073095687f;
    } else {
        p = 0.0013276472065487728f * f + 0.009675541452515604f;
        p = p * f + 0.05550713274295596f;
        p = p * f + 0.24022119721666832f;
        p = p * f + 0.6931469670636319f;
        p = p * f + 1.00000007165512f;
    }
    return vec_scale_by_power(p, n);
#endif
}
#pragma GCC diagnostic pop

/* In what follows `rough` is for results that are rounded to bf16 anyway (4e-3): relative errors below 2e-4, else
 * below 1e-6. */

/* 1 / x for x in [1, 2^126]. */
INLINE vec vec_reciprocal(vec x, int rough)
{
#if defined(__AVX512F__)
    vec y = _mm512_rcp14_ps(x); /* to 2^-14; a Newton step squares that */
    return rough ? y : y * (2.0f - x * y);
#else
    (void)rough;
    return 1.0f / x;
#endif
}

/* e^x, clamped to x in [-87, 87]. The polynomial's relative error: 7.5e-8 (rough: 7.5e-5). */
INLINE vec vec_exp(vec x, int rough)
{
    x = vec_min(vec_max(x, vec_set(-87.0f)), vec_set(87.0f));
    if (rough) return vec_exp2(x * 1.44269504088896341f, 1);
    vec n = vec_round(x * 1.44269504088896341f);
    vec r = x - n * 0.693359375f; /* ln 2 in two parts (Cody and Waite): the first product is exact */
    r = r + n * 2.12194440e-4f;
    vec p = 0.008297655134915f * r + 0.04191538250433351f;
    p = p * r + 0.16667574731007054f;
    p = p * r + 0.4999889484667928f;
    p = p * r + 0.9999996919899284f;
    p = p * r + 1.0000000716551205f;
    return vec_scale_by_power(p, n);
}

INLINE vec vec_sigmoid(vec x, int rough)
{
    return vec_reciprocal(1.0f + vec_exp(-x, rough), rough);
}

/* The normal distribution's cumulative function Phi(x) = (1 + erf(x / sqrt 2)) / 2 and its density.
 * Phi(-z) = exp(-z^2 / 2) R(1 / (1 + b z)) for z >= 0, R a polynomial fitted to 3.2e-7 relative (rough: 6.1e-5): the
 * small tail keeps its relative precision, which 1 - erf would lose. */
INLINE vec vec_normal(vec x, vec *density, int rough)
{
    vec z = (vec)((vecu)x & 0x7fffffffu);
    vec e = vec_exp(-0.5f * z * z, rough), p;
    if (rough) {
        vec t = vec_reciprocal(1.0f + 0.46f * z, 1);
        p = 0.3119668519948429f - 0.12673068582113234f * t;
        p = p * t + 0.12110635120927368f;
        p = p * t + 0.19433508659452522f;
        p = p * t - 0.0007077499381885344f;
    } else {
        vec t = vec_reciprocal(1.0f + 0.35f * z, 0);
        p = 0.049045024778041166f * t - 0.20255425562654594f;
        p = p * t + 0.2414032343187959f;
        p = p * t - 0.01773613472750671f;
        p = p * t + 0.15634307997917418f;
        p = p * t + 0.13323885219355222f;
        p = p * t + 0.1402888452318097f;
        p = p * t - 2.848966809160247e-05f;
    }
    vec tail = p * e;
    *density = 0.398942280401432678f * e;
    return vec_select(x > 0.0f, 1.0f - tail, tail);
}

#endif
