/* Where oneDNN has nothing, or reference loops only: bf16 on a processor without AVX-512, which this program pretends
 * to have. A convolution then looks to a product, and that one says what there isn't. */
#include "test_support.h"

#include <stdlib.h>

#include "backend/cpu/kernels.h"
#include "backend/cpu/primitive.h"
#include "op/op.h"

static leco_error err;

static void want_of_an_implementation_is_unsupported(void **state)
{
    (void)state;
    primitive p;
    const conv_spec conv = {.n = 1,
                            .h = 6,
                            .w = 6,
                            .in = 8,
                            .ho = 6,
                            .wo = 6,
                            .out = 8,
                            .kh = 3,
                            .kw = 3,
                            .stride = 1,
                            .before = {1, 1},
                            .after = {1, 1},
                            .type = DTYPE_BF16};
    assert_fails(primitive_plan_conv(&p, &conv, &err), LECO_UNSUPPORTED, &err, "oneDNN can't do a convolution");
    assert_null(p.planned);
    const matmul_spec product = {.rows = 4, .depth = 8, .columns = 8, .type = DTYPE_BF16, .alpha = 1};
    assert_fails(primitive_plan_matmul(&p, &product, &err), LECO_UNSUPPORTED, &err, "oneDNN can't do a matrix product");
}

static void nodes_without_any_way_are_named(void **state)
{
    (void)state;
    static const float values[8 * 8 * 9];
    weight w = {.name = "w", .type = DTYPE_F32, .data = values, .shape = SHAPE(8, 8, 3, 3)};
    const int pad[4] = {1, 1, 1, 1};
    graph *g = graph_create(DTYPE_BF16);
    assert_non_null(g);
    tensor *x = graph_input(g, "x", DTYPE_BF16, SHAPE(1, 6, 6, 8));
    graph_set_name(g, "blocks.0.conv");
    op_conv2d(g, x, graph_weight(g, &w), NULL, NULL, 1, pad);
    assert_works(graph_finish(g, &err), &err);
    kernel_plan plan;
    const kernel_site at = {graph_node_at(g, 0), DTYPE_BF16, &host_memory};
    assert_fails(kernel_plan_node(&cpu_conv2d.once, &at, &plan, &err), LECO_UNSUPPORTED, &err,
                 "blocks.0.conv: ", "a matrix product");
    kernel_release(&cpu_conv2d.once, &plan);
    assert_null(plan.state);
    graph_destroy(g);
    weight_release(&w);
}

int main(void)
{
    if (setenv("LECO_CPU", "avx2", 1) != 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(want_of_an_implementation_is_unsupported),
        cmocka_unit_test(nodes_without_any_way_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
