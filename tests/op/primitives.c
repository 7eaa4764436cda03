/* oneDNN behind primitive.h: nothing that choice.c knows to be bad is used, and every failure has its own status. */
#include "test_support.h"

#include <string.h>

#include "backend/cpu/choice.h"
#include "backend/cpu/primitive.h"

static leco_error err;

static conv_spec conv(dtype type, int64_t n, int64_t h, int64_t w, int64_t in, int64_t out, int64_t side,
                      int64_t stride)
{
    int64_t pad = side / 2;
    return (conv_spec){.n = n,
                       .h = h,
                       .w = w,
                       .in = in,
                       .ho = (h + 2 * pad - side) / stride + 1,
                       .wo = (w + 2 * pad - side) / stride + 1,
                       .out = out,
                       .kh = side,
                       .kw = side,
                       .stride = stride,
                       .before = {pad, pad},
                       .after = {pad, pad},
                       .type = type,
                       .bias = true};
}

static void check(const char *name, int64_t depth)
{
    const char *why;
    if (choice_judge(name, compat_version(), depth, &why) != CHOICE_GOOD) fail_msg("%s is used, which %s", name, why);
}

static void check_conv(conv_spec s)
{
    primitive p;
    for (int kind = 0; kind < 3; kind++) {
        s.sum = kind == 1;
        s.gradient = kind == 2;
        s.bias = kind != 2;
        assert_works(primitive_plan_conv(&p, &s, &err), &err);
        assert_works(primitive_make(&p, &err), &err);
        check(p.implementation, 0);
        primitive_release(&p);
    }
}

/* The first two make oneDNN 2.6's own choice read outside of its memory, on a processor with AMX. */
static void only_good_ones_are_used(void **state)
{
    (void)state;
    for (dtype type = DTYPE_F32; type <= DTYPE_BF16; type++) {
        if (!backend_cpu.supports(type)) continue;
        check_conv(conv(type, 2, 10, 22, 16, 16, 3, 1));
        check_conv(conv(type, 1, 4, 8, 96, 96, 3, 1));
        check_conv(conv(type, 1, 7, 9, 3, 5, 3, 2));
        check_conv(conv(type, 1, 5, 5, 17, 33, 1, 2));
        for (int64_t depth = 31; depth < 65; depth++) {
            matmul_spec m = {.rows = 77, .depth = depth, .columns = 5, .type = type, .transposed = true, .alpha = 1};
            primitive p;
            assert_works(primitive_plan_matmul(&p, &m, &err), &err);
            assert_works(primitive_make(&p, &err), &err);
            check(p.implementation, depth);
            primitive_release(&p);
        }
    }
}

/* What oneDNN calls wrong is a mistake of ours, not a reason to do it in another way. */
static void mistakes_are_internal_errors(void **state)
{
    (void)state;
    primitive p;
    conv_spec s = conv(DTYPE_F32, 1, 6, 6, 4, 4, 3, 1);
    s.ho++;
    assert_fails(primitive_plan_conv(&p, &s, &err), LECO_INTERNAL, &err, "oneDNN could not create a convolution",
                 "invalid_arguments");
    assert_null(p.planned);
    s.gradient = true;
    s.bias = false;
    assert_fails(primitive_plan_conv(&p, &s, &err), LECO_INTERNAL, &err, "a convolution's data gradient",
                 "invalid_arguments");
    matmul_spec m = {.rows = -3, .depth = 4, .columns = 4, .type = DTYPE_F32, .alpha = 1};
    assert_fails(primitive_plan_matmul(&p, &m, &err), LECO_INTERNAL, &err, "a matrix product", "invalid_arguments");
}

static void statuses_keep_their_meaning(void **state)
{
    (void)state;
    assert_fails(primitive_failure(dnnl_out_of_memory, "a convolution", &err), LECO_MEMORY, &err, "out of memory",
                 "a convolution");
    assert_fails(primitive_failure(dnnl_runtime_error, "a convolution", &err), LECO_INTERNAL, &err, "a convolution",
                 "runtime_error");
    assert_fails(primitive_failure(dnnl_unimplemented, "a convolution", &err), LECO_INTERNAL, &err, "a convolution",
                 "unimplemented");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_good_ones_are_used),
        cmocka_unit_test(mistakes_are_internal_errors),
        cmocka_unit_test(statuses_keep_their_meaning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
