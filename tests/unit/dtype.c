#include "test_support.h"

#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/dtype.h"

static void names_and_sizes(void **state)
{
    (void)state;
    static const struct {
        dtype type;
        const char *name;
        size_t size;
    } expected[] = {{DTYPE_F32, "float32", 4}, {DTYPE_BF16, "bfloat16", 2}, {DTYPE_F16, "float16", 2},
                    {DTYPE_F64, "float64", 8}, {DTYPE_I32, "int32", 4},     {DTYPE_I64, "int64", 8}};
    assert_int_equal(sizeof expected / sizeof *expected, DTYPE_COUNT);
    for (size_t i = 0; i < DTYPE_COUNT; i++) {
        assert_string_equal(dtype_name(expected[i].type), expected[i].name);
        assert_int_equal(dtype_size(expected[i].type), expected[i].size);
    }
}

/* The value of a binary16 by its definition. */
static double f16_value(unsigned bits)
{
    int exponent = (int)(bits >> 10 & 31);
    double mantissa = bits & 0x3ff;
    double magnitude = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
    return bits & 0x8000 ? -magnitude : magnitude;
}

static void every_f16_becomes_its_f32_and_back(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 0x10000; bits++) {
        float value = f16_to_f32((f16)bits);
        if ((bits & 0x7c00) == 0x7c00) {
            if (bits & 0x3ff)
                assert_true(isnan(value));
            else
                assert_true(isinf(value) && (value < 0) == (bits >> 15));
        } else {
            assert_true((double)value == f16_value(bits));
            assert_int_equal(!!signbit(value), bits >> 15);
        }
        if (!isnan(value))
            assert_int_equal(f16_from_f32(value), bits);
        else
            assert_true(isnan(f16_to_f32(f16_from_f32(value))));
    }
}

/* Each pair of neighbours, their middle and the floats next to it: rounds to nearest, ties to even. */
static void f16_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 0x7c00; bits++) {
        double low = f16_value(bits), high = bits == 0x7bff ? 65536 : f16_value(bits + 1);
        float middle = (float)((low + high) / 2);
        unsigned even = bits & 1 ? bits + 1 : bits; /* the one above 65504 is infinity, 0x7c00 */
        assert_int_equal(f16_from_f32(middle), even);
        assert_int_equal(f16_from_f32(nextafterf(middle, 0.0f)), bits);
        assert_int_equal(f16_from_f32(nextafterf(middle, INFINITY)), bits + 1);
        assert_int_equal(f16_from_f32(-middle), even | 0x8000);
    }
    assert_int_equal(f16_from_f32(1e30f), 0x7c00);
    assert_int_equal(f16_from_f32(-INFINITY), 0xfc00);
    assert_int_equal(f16_from_f32(1e-30f), 0);
}

static void bf16_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 0x7f80; bits++) {
        uint32_t wide[4] = {bits << 16, bits << 16 | 0x7fff, bits << 16 | 0x8000, bits << 16 | 0x8001};
        unsigned expected[4] = {bits, bits, bits & 1 ? bits + 1 : bits, bits + 1};
        for (int i = 0; i < 4; i++) {
            float value;
            memcpy(&value, &wide[i], sizeof value);
            assert_int_equal(bf16_from_f32(value), expected[i]);
        }
    }
    assert_true(isnan(bf16_to_f32(bf16_from_f32(NAN))));
    uint32_t low_nan = 0x7f800001; /* its only set bit is cut off */
    float value;
    memcpy(&value, &low_nan, sizeof value);
    assert_true(isnan(bf16_to_f32(bf16_from_f32(value))));
    assert_true(bf16_to_f32(0xbf80) == -1.0f);
}

static void store(unsigned char *at, dtype type, double value)
{
    float f = (float)value;
    uint16_t half = type == DTYPE_BF16 ? bf16_from_f32(f) : f16_from_f32(f);
    if (type == DTYPE_F64)
        memcpy(at, &value, sizeof value);
    else if (type == DTYPE_F32)
        memcpy(at, &f, sizeof f);
    else
        memcpy(at, &half, sizeof half);
}

/* All pairs of floating types, a count that ends inside a chunk, and both sides at odd addresses. The values are small
 * whole numbers, which every type holds exactly. */
static void conversions_need_no_alignment(void **state)
{
    (void)state;
    static const dtype types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_F64};
    enum { COUNT = 777 };
    static unsigned char src[COUNT * 8 + 1], dst[COUNT * 8 + 2], expected[COUNT * 8];
    for (int s = 0; s < 4; s++) {
        for (int d = 0; d < 4; d++) {
            size_t src_size = dtype_size(types[s]), dst_size = dtype_size(types[d]);
            for (size_t i = 0; i < COUNT; i++) {
                store(src + 1 + i * src_size, types[s], (double)(i % 255) - 127);
                store(expected + i * dst_size, types[d], (double)(i % 255) - 127);
            }
            memset(dst, 0xaa, sizeof dst);
            dtype_convert(dst + 1, types[d], src + 1, types[s], COUNT);
            assert_memory_equal(dst + 1, expected, COUNT * dst_size);
            assert_int_equal(dst[0], 0xaa);
            assert_int_equal(dst[1 + COUNT * dst_size], 0xaa);
        }
    }
}

/* So many at once that threads share them, and loops become vectors: each value of float16, twice and a bit, is what it
 * is alone, to the bit, as float32 and as bfloat16, and so back. */
static void long_conversions_are_those_of_each(void **state)
{
    (void)state;
    enum { COUNT = 2 * 0x10000 + 777 };
    static f16 half[COUNT], again[COUNT];
    static float single[COUNT];
    static bf16 brain[COUNT];
    cpu_set_threads(3);
    for (size_t i = 0; i < COUNT; i++) half[i] = (f16)i;
    dtype_convert(single, DTYPE_F32, half, DTYPE_F16, COUNT);
    dtype_convert(brain, DTYPE_BF16, half, DTYPE_F16, COUNT);
    dtype_convert(again, DTYPE_F16, single, DTYPE_F32, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        const float expected = f16_to_f32((f16)i);
        assert_memory_equal(&single[i], &expected, sizeof expected);
        assert_int_equal(brain[i], bf16_from_f32(expected));
        assert_int_equal(again[i], f16_from_f32(expected));
    }
    cpu_set_threads(0);
}

static void conversions_round(void **state)
{
    (void)state;
    const double wide[] = {1.0 / 3, 1e300, -65520.0, 6.1e-5};
    float narrow[4];
    f16 half[4];
    dtype_convert(narrow, DTYPE_F32, wide, DTYPE_F64, 4);
    assert_true(narrow[0] == 1.0f / 3 && isinf(narrow[1]));
    dtype_convert(half, DTYPE_F16, wide, DTYPE_F64, 4);
    assert_int_equal(half[0], 0x3555);
    assert_int_equal(half[1], 0x7c00);
    assert_int_equal(half[2], 0xfc00);
    assert_int_equal(half[3], 0x3ff);
}

static void integers(void **state)
{
    (void)state;
    const int64_t wide[] = {0, -7, 49407, INT64_C(0x100000002)};
    int32_t narrow[4];
    int64_t back[4];
    dtype_convert(narrow, DTYPE_I32, wide, DTYPE_I64, 4);
    assert_int_equal(narrow[1], -7);
    assert_int_equal(narrow[2], 49407);
    assert_int_equal(narrow[3], 2);
    dtype_convert(back, DTYPE_I64, narrow, DTYPE_I32, 4);
    assert_true(back[1] == -7);
    dtype_convert(back, DTYPE_I64, wide, DTYPE_I64, 4);
    assert_memory_equal(back, wide, sizeof wide);
    dtype_convert(NULL, DTYPE_F32, NULL, DTYPE_F16, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_sizes),
        cmocka_unit_test(every_f16_becomes_its_f32_and_back),
        cmocka_unit_test(f16_rounds_to_nearest_even),
        cmocka_unit_test(bf16_rounds_to_nearest_even),
        cmocka_unit_test(conversions_need_no_alignment),
        cmocka_unit_test(long_conversions_are_those_of_each),
        cmocka_unit_test(conversions_round),
        cmocka_unit_test(integers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
