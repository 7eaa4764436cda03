/* Which of oneDNN's implementations are used: lists as oneDNN 2.6, 3.0 and 3.2 gave them, on any machine. */
#include "test_support.h"

#include "backend/cpu/choice.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))
#define PICK(list, major, minor, patch) choice_pick(list, COUNT(list), CHOICE_VERSION(major, minor, patch), 0)

/* A processor with AMX: a convolution in bf16, its data gradient with stride 2, a product. */
static const char *const conv_2_6[] = {"brgconv:avx512_core_amx_bf16",
                                       "jit:avx512_core_amx_bf16",
                                       "brgconv:avx512_core_bf16",
                                       "jit_bf16:avx512_core_bf16",
                                       "x64:gemm:jit",
                                       "ref:any"};
static const char *const conv_3[] = {"brgconv:avx512_core_amx",   "jit:avx512_core_amx", "brgconv:avx512_core_bf16",
                                     "jit_bf16:avx512_core_bf16", "x64:gemm:jit",        "ref:any"};
static const char *const conv_1x1[] = {"brgconv_1x1:avx512_core_amx_bf16", "jit:avx512_core_amx_bf16", "ref:any"};
static const char *const gradient_2_6[] = {"jit:avx512_core_amx_bf16", "jit_bf16:avx512_core_bf16", "x64:gemm:jit",
                                           "ref:any"};
static const char *const gradient_3[] = {"brg_fwd:avx512_core_amx+brgconv:avx512_core_amx", "jit:avx512_core_amx",
                                         "ref:any"};
static const char *const strided_3[] = {"brgconv_strided:avx512_core_amx", "jit:avx512_core_amx", "ref:any"};
static const char *const product[] = {"brg:avx512_core_amx_bf16", "brg:avx512_core_bf16", "gemm:jit", "ref:any"};

static void broken_versions_are_passed_over(void **state)
{
    (void)state;
    assert_int_equal(PICK(conv_2_6, 2, 5, 4), 0);
    assert_int_equal(PICK(conv_2_6, 2, 6, 0), 1);
    assert_int_equal(PICK(conv_2_6, 2, 6, 3), 1);
    assert_int_equal(PICK(conv_2_6, 2, 7, 5), 1);
    assert_int_equal(PICK(conv_3, 3, 0, 1), 1);
    assert_int_equal(PICK(conv_3, 3, 1, 0), 0);
    assert_int_equal(PICK(conv_3, 3, 10, 2), 0);
    assert_int_equal(PICK(gradient_3, 3, 0, 0), 1);
    assert_int_equal(PICK(gradient_3, 3, 2, 0), 0);
}

static void what_is_not_known_to_be_broken_stays_first(void **state)
{
    (void)state;
    assert_int_equal(PICK(conv_1x1, 2, 6, 3), 0);
    assert_int_equal(PICK(gradient_2_6, 2, 6, 3), 0);
    assert_int_equal(PICK(strided_3, 3, 0, 0), 0);
    assert_int_equal(PICK(product, 2, 6, 3), 0);
    const char *const avx512[] = {"brgconv:avx512_core_bf16", "jit_bf16:avx512_core_bf16", "x64:gemm:jit", "ref:any"};
    const char *const sse[] = {"jit:sse41", "x64:gemm:jit", "ref:any"};
    assert_int_equal(PICK(avx512, 2, 6, 3), 0);
    assert_int_equal(PICK(sse, 2, 6, 3), 0);
}

static int product_of(int64_t depth, int version)
{
    return choice_pick(product, COUNT(product), version, depth);
}

/* One version of AMX products is wrong for depths of 31 more than a multiple of 32. */
static void products_of_some_depths_are_broken(void **state)
{
    (void)state;
    assert_int_equal(product_of(63, CHOICE_VERSION(2, 6, 3)), 1);
    assert_int_equal(product_of(1055, CHOICE_VERSION(2, 7, 3)), 1);
    assert_int_equal(product_of(63, CHOICE_VERSION(3, 0, 1)), 1);
    assert_int_equal(product_of(62, CHOICE_VERSION(2, 6, 3)), 0);
    assert_int_equal(product_of(64, CHOICE_VERSION(2, 6, 3)), 0);
    assert_int_equal(product_of(65, CHOICE_VERSION(3, 0, 1)), 0);
    assert_int_equal(product_of(63, CHOICE_VERSION(2, 7, 4)), 0);
    assert_int_equal(product_of(63, CHOICE_VERSION(3, 1, 0)), 0);
}

static void there_may_be_none(void **state)
{
    (void)state;
    const char *const loops[] = {"ref:any", "ref_int8:any", "ref_fused_convolution:any"};
    const char *const broken[] = {"brgconv:avx512_core_amx_bf16", "ref:any"};
    assert_int_equal(PICK(loops, 2, 6, 3), -1);
    assert_int_equal(PICK(loops, 4, 0, 0), -1);
    assert_int_equal(PICK(broken, 2, 6, 3), -1);
    assert_int_equal(choice_pick(NULL, 0, CHOICE_VERSION(2, 6, 3), 0), -1);
}

static void the_reason_is_told(void **state)
{
    (void)state;
    const char *why = NULL;
    assert_int_equal(choice_judge("ref:any", CHOICE_VERSION(3, 4, 0), 0, &why), CHOICE_REFERENCE);
    assert_string_equal(why, "is a reference loop");
    assert_int_equal(choice_judge(conv_2_6[0], CHOICE_VERSION(2, 6, 3), 0, &why), CHOICE_BROKEN);
    assert_string_equal(why, "reads outside of its memory");
    assert_int_equal(choice_judge(conv_2_6[1], CHOICE_VERSION(2, 6, 3), 0, &why), CHOICE_GOOD);
    assert_string_equal(why, "");
    assert_int_equal(choice_judge("ref:any", CHOICE_VERSION(3, 4, 0), 0, NULL), CHOICE_REFERENCE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_versions_are_passed_over),
        cmocka_unit_test(what_is_not_known_to_be_broken_stays_first),
        cmocka_unit_test(products_of_some_depths_are_broken),
        cmocka_unit_test(there_may_be_none),
        cmocka_unit_test(the_reason_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
