/* Element types and their conversions. */
#ifndef LECO_BASE_DTYPE_H
#define LECO_BASE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef enum dtype { DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_F64, DTYPE_I32, DTYPE_I64, DTYPE_COUNT } dtype;

typedef uint16_t bf16; /* the upper half of an IEEE binary32 */
typedef uint16_t f16;  /* IEEE binary16 */

size_t dtype_size(dtype type);
const char *dtype_name(dtype type); /* "float32", "bfloat16", "float16", "float64", "int32", "int64" */
/* "fp32", "bf16", "fp16": how other programs call the types that weights are kept in; NULL: no such name. */
const char *dtype_short_name(dtype type);
bool dtype_is_float(dtype type);
bool dtype_find(const char *name, dtype *out); /* by either name; false: there is none */

static inline float bf16_to_f32(bf16 value)
{
    uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

/* Round to nearest even; NaN stays NaN. */
static inline bf16 bf16_from_f32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (bf16)((bits >> 16) | 0x0040u);
    bits += 0x7fffu + ((bits >> 16) & 1u);
    return (bf16)(bits >> 16);
}

/* Of eight bits: E4M3 without infinities (0x7f is NaN), or E5M2 as IEEE's. bfloat16 has all of their values. */
bf16 bf16_from_float8(unsigned char byte, bool e4m3);

float f16_to_f32(f16 value);
f16 f16_from_f32(float value); /* round to nearest even, overflow to infinity */

/* Converts count elements between any two floating types, by way of float32 as torch does (and copies equal types). src
 * and dst don't overlap and need no alignment. Integers convert among themselves only (int64 to int32 keeps the lower
 * half); anything else is an assertion. */
void dtype_convert(void *dst, dtype dst_type, const void *src, dtype src_type, size_t count);

/* dst [columns,rows] = src [rows,columns], elements of `size` bytes. */
void dtype_transpose(void *dst, const void *src, size_t rows, size_t columns, size_t size);

#endif
