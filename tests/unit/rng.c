/* Expected numbers were printed by torch 2.8 (CPU, AVX2). tests/parity/rng.c compares many more. */
#include "test_support.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"

static void assert_floats(const float *found, const float *expected, size_t count, float tolerance)
{
    for (size_t i = 0; i < count; i++) {
        if (fabsf(found[i] - expected[i]) <= tolerance) continue;
        fail_msg("element %zu is %a, expected %a", i, (double)found[i], (double)expected[i]);
    }
}

static void uniform_is_torch_rand(void **state)
{
    (void)state;
    static const struct {
        uint64_t seed;
        float expected[4];
    } cases[] = {
        {0, {0x1.fc2abp-2f, 0x1.89545ep-1f, 0x1.6a675p-4f, 0x1.0e66p-3f}},
        {42, {0x1.c3b8ccp-1f, 0x1.d47b66p-1f, 0x1.880d7p-2f, 0x1.eb2a1cp-1f}},
        {(UINT64_C(1) << 40) + 7, {0x1.11e15ep-1f, 0x1.9726200p-3f, 0x1.518432p-1f, 0x1.5053ecp-1f}},
    };
    for (size_t i = 0; i < 3; i++) {
        rng r;
        float found[4];
        rng_seed(&r, RNG_CPU, cases[i].seed);
        rng_uniform(&r, found, 4, 0, 1);
        assert_floats(found, cases[i].expected, 4, 0);
    }
}

/* Elements 620 to 630 of 1300: over the first refill of the state. */
static void the_state_is_refilled(void **state)
{
    (void)state;
    static const float expected[] = {0x1.260054p-1f, 0x1.459958p-2f, 0x1.bbbf68p-1f, 0x1.25ce72p-1f, 0x1.a5027p-1f,
                                     0x1.f7349cp-1f, 0x1.8d7d5cp-2f, 0x1.b43ff4p-1f, 0x1.9805d4p-2f, 0x1.e705a2p-1f};
    static float found[1300];
    rng r;
    rng_seed(&r, RNG_CPU, 1);
    rng_uniform(&r, found, 1300, 0, 1);
    assert_floats(found + 620, expected, 10, 0);
}

static void a_range_is_scaled_with_one_rounding(void **state)
{
    (void)state;
    static const float expected[] = {-0x1.2ed58cp-2f, -0x1.8e31a8p-3f, -0x1.cfeap-7f,
                                     -0x1.179928p-2f, 0x1.5f7758p-3f,  -0x1.eb4828p-3f};
    float found[6];
    rng r;
    rng_seed(&r, RNG_CPU, 3);
    rng_uniform(&r, found, 6, -0.3f, 0.7f);
    assert_floats(found, expected, 6, 0);
}

static void randint_is_torch_randint(void **state)
{
    (void)state;
    static const int64_t expected[] = {995, 383, 919, 177, 417, 183};
    rng r;
    rng_seed(&r, RNG_CPU, 9);
    for (size_t i = 0; i < 6; i++) assert_true(rng_randint(&r, -5, 1000) == expected[i]);
    /* From a range of 2^28 on, torch takes two words. */
    assert_true(rng_randint(&r, 0, INT64_C(1) << 28) == 15995798);
    assert_true(rng_randint(&r, 0, (INT64_C(1) << 28) - 1) == 73491583);
    assert_true(rng_randint(&r, -(INT64_C(1) << 40), INT64_C(1) << 40) == -INT64_C(819400051178));
    for (int i = 0; i < 1000; i++) assert_in_range(rng_randint(&r, 1, 4), 1, 3);
    rng_randint(&r, INT64_MIN, INT64_MAX);
}

/* Under 16 elements; the sixteenth number is kept for the next short call. */
static void short_normals_keep_their_second_value(void **state)
{
    (void)state;
    static const float expected[] = {0x1.58c55cp-2f, 0x1.07cd3ap-3f, 0x1.e02dcep-3f,  0x1.d7b8d8p-3f,  -0x1.1f7384p+0f,
                                     -0x1.7d99bp-3f, 0x1.1aa658p+1f, -0x1.46a78cp-1f, 0x1.d8bcacp-2f,  0x1.11c46ep-2f,
                                     0x1.11df06p-1f, 0x1.9e6412p-1f, 0x1.1c3bfcp+0f,  -0x1.b096aap+0f, -0x1.fa58f4p-1f,
                                     0x1.ea7b48p-1f, 0x1.527772p+0f, 0x1.a266b2p-1f};
    float found[18];
    rng r;
    rng_seed(&r, RNG_CPU, 42);
    rng_normal(&r, found, 15);
    rng_normal(&r, found + 15, 3);
    assert_floats(found, expected, 18, 2.4e-7f);
}

static void long_normals_come_in_blocks(void **state)
{
    (void)state;
    static const float expected[] = {0x1.ed4a52p+0f,  0x1.7cbea6p+0f,  0x1.cd2acep-1f,  -0x1.0d81b6p+1f,
                                     0x1.5b59aap-1f,  -0x1.3c0b22p+0f, -0x1.60cf0cp-5f, -0x1.9acb74p+0f,
                                     -0x1.8117ep-1f,  0x1.a612b6p+0f,  -0x1.91e5ecp-2f, -0x1.6752ccp+0f,
                                     -0x1.74acdcp-1f, -0x1.1e6da2p-1f, -0x1.89a54p-1f,  0x1.865f3ep-1f};
    float found[16];
    rng r;
    rng_seed(&r, RNG_CPU, 42);
    rng_normal(&r, found, 16);
    assert_floats(found, expected, 16, 0);
}

/* 21 elements: the last 16 are drawn anew, over 11 of the first block. Then the stream goes on behind 37 words. */
static void the_tail_is_drawn_anew(void **state)
{
    (void)state;
    static const float expected[] = {
        0x1.ed4a52p+0f,  0x1.7cbea6p+0f, 0x1.cd2acep-1f,  -0x1.0d81b6p+1f, 0x1.5b59aap-1f,  0x1.140cap+0f,
        0x1.9a0288p-1f,  0x1.ae3d26p+0f, 0x1.6c668ap-2f,  -0x1.5f8d0cp-1f, -0x1.f93268p-2f, 0x1.ee9126p-3f,
        -0x1.1c6432p+0f, 0x1.5618p-5f,   -0x1.019cf4p-2f, 0x1.b83f6p-1f,   -0x1.3d2904p-2f, -0x1.953522p-2f,
        0x1.9b5878p-1f,  -0x1.3e41cp-1f, -0x1.2f1ab2p-1f, 0x1.ced6bp-1f,   0x1.1bfc6p-1f};
    float found[23];
    rng r;
    rng_seed(&r, RNG_CPU, 42);
    rng_normal(&r, found, 21);
    rng_uniform(&r, found + 21, 2, 0, 1);
    assert_floats(found, expected, 23, 0);
}

/* The cached second value waits while a long call runs. */
static void the_paths_share_one_stream(void **state)
{
    (void)state;
    static const float expected[] = {-0x1.2ca2e8p-3f, -0x1.560202p-3f, 0x1.23fe5ap-2f, -0x1.483d26p-1f, -0x1.c98d34p-1f,
                                     -0x1.69584ap-3f, 0x1.c00b4cp+0f,  0x1.ee1596p+0f, 0x1.f8e3a6p-1f,  0x1.6ac5a2p-1f,
                                     0x1.0343fp+0f,   0x1.d7da5p-3f,   0x1.17151p+0f,  -0x1.dfc976p-1f, 0x1.bad958p-1f,
                                     -0x1.7a0a6cp-2f, 0x1.95fcb6p-1f,  0x1.92811cp-1f, 0x1.c40888p-1f};
    float found[19];
    rng r;
    rng_seed(&r, RNG_CPU, 7);
    rng_normal(&r, found, 1);
    rng_normal(&r, found + 1, 16);
    rng_normal(&r, found + 17, 1);
    rng_uniform(&r, found + 18, 1, 0, 1);
    assert_floats(found, expected, 19, 2.4e-7f);
}

static void a_latent_is_torch_randn(void **state)
{
    (void)state;
    enum { COUNT = 4 * 64 * 64 };
    static const float last[] = {-0x1.9f4e3ep-1f, -0x1.458116p-1f, 0x1.f2141ep-1f, -0x1.2c72a6p-2f};
    static float found[COUNT];
    double sum = 0, squares = 0;
    rng r;
    rng_seed(&r, RNG_CPU, 42);
    rng_normal(&r, found, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        sum += (double)found[i];
        squares += (double)found[i] * (double)found[i];
    }
    assert_floats(found + COUNT - 4, last, 4, 0);
    assert_true(fabs(sum - 149.76480043913034) < 1e-9);
    assert_true(fabs(squares - 16516.39987214705) < 1e-7);
}

/* A quarter of a million numbers by their hash (FNV-1a): one wrong bit in any of them shows. */
static void long_normals_are_torchs_bit_for_bit(void **state)
{
    (void)state;
    enum { COUNT = 1 << 18 };
    static float found[COUNT];
    rng r;
    rng_seed(&r, RNG_CPU, 7);
    rng_normal(&r, found, COUNT);
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < sizeof found; i++)
        hash = (hash ^ ((const unsigned char *)found)[i]) * UINT64_C(0x100000001b3);
    assert_true(hash == UINT64_C(0x5f26daf8675fac34));
}

/* Random123's known answers for philox4x32-10. */
static void philox_block(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4];
        uint64_t key;
        uint32_t expected[4];
    } cases[] = {
        {{0, 0, 0, 0}, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         UINT64_MAX,
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         UINT64_C(0x299f31d0a4093822),
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < 3; i++) {
        uint32_t counter[4];
        memcpy(counter, cases[i].counter, sizeof counter);
        rng_philox(counter, cases[i].key);
        assert_memory_equal(counter, cases[i].expected, sizeof counter);
    }
}

/* What a GPU prints for torch.manual_seed(42); torch.randn(36, device="cuda"), as found in a published script. */
static void cuda_normals(void **state)
{
    (void)state;
    static const float expected[] = {0.1940f,  2.1614f,  -0.1721f, 0.8491f,  -1.9244f, 0.6530f,  -0.6494f, -0.8175f,
                                     0.5280f,  -1.2753f, -1.6621f, -0.3033f, -0.0926f, 0.1992f,  -1.1204f, 1.8577f,
                                     -0.7145f, 0.6881f,  0.7968f,  -0.0334f, 1.4917f,  -0.5165f, -0.2541f, 1.4746f,
                                     -0.3260f, -1.1600f, 2.3551f,  -0.6924f, 0.1837f,  -1.1835f, -1.8029f, -1.5808f};
    float found[32], second[32];
    rng r;
    rng_seed(&r, RNG_CUDA, 42);
    rng_normal(&r, found, 32);
    assert_floats(found, expected, 32, 6e-5f);
    rng_normal(&r, second, 32);
    assert_true(memcmp(found, second, sizeof found) != 0); /* every call has its own counters */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uniform_is_torch_rand),
        cmocka_unit_test(the_state_is_refilled),
        cmocka_unit_test(a_range_is_scaled_with_one_rounding),
        cmocka_unit_test(randint_is_torch_randint),
        cmocka_unit_test(short_normals_keep_their_second_value),
        cmocka_unit_test(long_normals_come_in_blocks),
        cmocka_unit_test(the_tail_is_drawn_anew),
        cmocka_unit_test(the_paths_share_one_stream),
        cmocka_unit_test(a_latent_is_torch_randn),
        cmocka_unit_test(long_normals_are_torchs_bit_for_bit),
        cmocka_unit_test(philox_block),
        cmocka_unit_test(cuda_normals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
