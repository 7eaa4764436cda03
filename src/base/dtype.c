#include "base/dtype.h"

#include <assert.h>
#include <string.h>

#include "base/cpu.h"

static const struct {
    const char *name;
    size_t size;
    const char *short_name;
} types[DTYPE_COUNT] = {
    [DTYPE_F32] = {"float32", 4, "fp32"}, [DTYPE_BF16] = {"bfloat16", 2, "bf16"}, [DTYPE_F16] = {"float16", 2, "fp16"},
    [DTYPE_F64] = {"float64", 8, NULL},   [DTYPE_I32] = {"int32", 4, NULL},       [DTYPE_I64] = {"int64", 8, NULL},
};

size_t dtype_size(dtype type)
{
    assert((unsigned)type < DTYPE_COUNT);
    return types[type].size;
}

const char *dtype_name(dtype type)
{
    assert((unsigned)type < DTYPE_COUNT);
    return types[type].name;
}

const char *dtype_short_name(dtype type)
{
    assert((unsigned)type < DTYPE_COUNT);
    return types[type].short_name;
}

bool dtype_find(const char *name, dtype *out)
{
    for (dtype type = 0; type < DTYPE_COUNT; type++) {
        const char *shorter = types[type].short_name;
        if (strcmp(name, types[type].name) == 0 || (shorter && strcmp(name, shorter) == 0)) {
            *out = type;
            return true;
        }
    }
    return false;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

bf16 bf16_from_float8(unsigned char byte, bool e4m3)
{
    const int mantissa_bits = e4m3 ? 3 : 2, bias = e4m3 ? 7 : 15;
    const int exponent = byte >> mantissa_bits & (e4m3 ? 0xf : 0x1f), mantissa = byte & ((1 << mantissa_bits) - 1);
    const bf16 sign = (bf16)((byte & 0x80) << 8);
    const bool special = e4m3 ? (byte & 0x7f) == 0x7f : exponent == 0x1f;
    if (special) return (bf16)(sign | 0x7f80 | (e4m3 || mantissa ? 0x40 : 0));
    float value = (float)mantissa / (float)(1 << mantissa_bits);
    int power = exponent ? exponent - bias : 1 - bias;
    if (exponent) value += 1;
    for (; power > 0; power--) value *= 2;
    for (; power < 0; power++) value /= 2;
    return (bf16)(sign | bf16_from_f32(value));
}

/* Without branches, so that loops over it become vectors. A subnormal is a number between 2^-14 and 2^-13, less 2^-14.
 */
static inline float widened(f16 value)
{
    const uint32_t magnitude = (uint32_t)(value & 0x7fffu) << 13, sign = (uint32_t)(value & 0x8000u) << 16;
    const uint32_t normal = magnitude + (112u << 23);
    const uint32_t special = magnitude | 0x7f800000u;
    const uint32_t tiny = bits_of(float_of(magnitude + (113u << 23)) - 0x1p-14f);
    const uint32_t finite = magnitude < 0x00800000u ? tiny : normal;
    return float_of(sign | (magnitude >= 0x0f800000u ? special : finite));
}

float f16_to_f32(f16 value)
{
    return widened(value);
}

f16 f16_from_f32(float value)
{
    uint32_t bits = bits_of(value);
    uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t magnitude = bits & 0x7fffffffu;
    uint32_t half;
    if (magnitude > 0x7f800000u)
        half = 0x7e00u | (magnitude >> 13 & 0x3ffu); /* a quiet NaN */
    else if (magnitude >= 0x477ff000u)
        half = 0x7c00u; /* 65520 and above round to infinity */
    else if (magnitude >= 0x38800000u)
        half = ((magnitude + 0xfffu + (magnitude >> 13 & 1u)) >> 13) - (112u << 10);
    else
        half = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f); /* 0.5's last bit is 2^-24: the addition rounds */
    return (f16)(sign | half);
}

bool dtype_is_float(dtype type)
{
    return type == DTYPE_F32 || type == DTYPE_BF16 || type == DTYPE_F16 || type == DTYPE_F64;
}

/* One chunk of a conversion; big enough to let the loops below vectorise, small enough to stay in the first cache. */
#define CHUNK 256
/* From here on threads share a conversion: it takes longer than waking them. */
#define PARALLEL 65536

typedef union chunk {
    float f32[CHUNK];
    double f64[CHUNK];
    uint16_t u16[CHUNK];
    int32_t i32[CHUNK];
    int64_t i64[CHUNK];
} chunk;

static void to_f32(float *dst, const chunk *src, dtype type, size_t count)
{
    if (type == DTYPE_BF16) {
#pragma omp simd
        for (size_t i = 0; i < count; i++) dst[i] = bf16_to_f32(src->u16[i]);
    } else if (type == DTYPE_F16) {
#pragma omp simd
        for (size_t i = 0; i < count; i++) dst[i] = widened(src->u16[i]);
    } else if (type == DTYPE_F64) {
        for (size_t i = 0; i < count; i++) dst[i] = (float)src->f64[i];
    } else {
        memcpy(dst, src->f32, count * sizeof *dst);
    }
}

static void from_f32(chunk *dst, dtype type, const float *src, size_t count)
{
    if (type == DTYPE_BF16) {
#pragma omp simd
        for (size_t i = 0; i < count; i++) dst->u16[i] = bf16_from_f32(src[i]);
    } else if (type == DTYPE_F16) {
        for (size_t i = 0; i < count; i++) dst->u16[i] = f16_from_f32(src[i]);
    } else if (type == DTYPE_F64) {
        for (size_t i = 0; i < count; i++) dst->f64[i] = (double)src[i];
    } else {
        memcpy(dst->f32, src, count * sizeof *src);
    }
}

static void convert_integers(chunk *dst, dtype type, const chunk *src, size_t count)
{
    if (type == DTYPE_I64) {
        for (size_t i = 0; i < count; i++) dst->i64[i] = src->i32[i];
    } else {
        for (size_t i = 0; i < count; i++) dst->i32[i] = (int32_t)src->i64[i];
    }
}

/* Tensors in a file may lie at any address, so every chunk is copied to an aligned one first. */
static void convert_chunk(unsigned char *dst, dtype dst_type, const unsigned char *src, dtype src_type, size_t count)
{
    chunk in, out;
    float middle[CHUNK];
    memcpy(&in, src, count * dtype_size(src_type));
    if (dtype_is_float(src_type)) {
        to_f32(middle, &in, src_type, count);
        from_f32(&out, dst_type, middle, count);
    } else {
        convert_integers(&out, dst_type, &in, count);
    }
    memcpy(dst, &out, count * dtype_size(dst_type));
}

void dtype_convert(void *dst, dtype dst_type, const void *src, dtype src_type, size_t count)
{
    const size_t dst_size = dtype_size(dst_type), src_size = dtype_size(src_type);
    if (count == 0) return;
    if (dst_type == src_type) {
        memcpy(dst, src, count * src_size);
        return;
    }
    assert(dtype_is_float(dst_type) == dtype_is_float(src_type));
    const size_t chunks = (count + CHUNK - 1) / CHUNK;
#pragma omp parallel for num_threads(cpu_threads()) if (count >= PARALLEL)
    for (size_t i = 0; i < chunks; i++) {
        const size_t from = i * CHUNK, n = count - from < CHUNK ? count - from : CHUNK;
        convert_chunk((unsigned char *)dst + from * dst_size, dst_type, (const unsigned char *)src + from * src_size,
                      src_type, n);
    }
}

void dtype_transpose(void *dst, const void *src, size_t rows, size_t columns, size_t size)
{
    unsigned char *to = dst;
    const unsigned char *from = src;
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < columns; k++) memcpy(to + (k * rows + i) * size, from + (i * columns + k) * size, size);
}
