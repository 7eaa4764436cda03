/* Building graphs: errors are kept and name what they are about; gradients are emitted only where they lead to
 * something trainable; parameters' gradients land in the parameters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "backend/session.h"
#include "op/op.h"

static int count_ops(const graph *g, op_code op)
{
    int count = 0;
    for (size_t i = 0; i < graph_node_count(g); i++) count += graph_node_at(g, i)->op == op;
    return count;
}

static void the_first_error_is_kept(void **state)
{
    (void)state;
    graph *g = graph_create(DTYPE_F32);
    tensor *a = graph_input(g, "left", DTYPE_F32, SHAPE(2, 3));
    tensor *b = graph_input(g, "right", DTYPE_F32, SHAPE(2, 4));
    graph_set_name(g, "block.sum");
    tensor *bad = op_add(g, a, b);
    assert_null(bad);
    assert_null(op_activation(g, bad, ACT_SILU));
    assert_null(op_add(g, a, a));
    leco_error err;
    assert_int_equal(graph_finish(g, &err), LECO_INVALID);
    assert_non_null(strstr(err.message, "[2,3]"));
    assert_non_null(strstr(err.message, "[2,4]"));
    assert_non_null(strstr(err.message, "block.sum"));
    graph_destroy(g);
}

static void absurd_shapes_are_refused(void **state)
{
    (void)state;
    const int64_t big = INT64_C(1) << 31;
    const shape bad[] = {SHAPE(0, 4), SHAPE(4, -1), SHAPE(big, big), SHAPE(big, big, big, big)};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        graph *g = graph_create(DTYPE_F32);
        assert_null(graph_input(g, "x", DTYPE_F32, bad[i]));
        leco_error err;
        assert_int_equal(graph_finish(g, &err), LECO_INVALID);
        graph_destroy(g);
    }
}

/* Two linear layers, the second with a LoRA: the reverse walk must not go below the second. */
static void frozen_paths_get_no_gradient(void **state)
{
    (void)state;
    float w1[16], w2[16], down[4], up[4], down_grad[4], up_grad[4];
    for (int i = 0; i < 16; i++) w1[i] = w2[i] = (float)(i % 5) * 0.1f;
    for (int i = 0; i < 4; i++) down[i] = up[i] = 0.1f * (float)(i + 1);
    weight first = {.name = "first", .type = DTYPE_F32, .shape = SHAPE(4, 4), .data = w1};
    weight second = {.name = "second", .type = DTYPE_F32, .shape = SHAPE(4, 4), .data = w2};
    param pd = {
        .name = "down", .type = DTYPE_F32, .shape = SHAPE(1, 4), .trained = true, .value = down, .grad = down_grad};
    param pu = {.name = "up", .type = DTYPE_F32, .shape = SHAPE(4, 1), .trained = true, .value = up, .grad = up_grad};

    graph *g = graph_create(DTYPE_F32);
    tensor *x = graph_input(g, "x", DTYPE_F32, SHAPE(2, 4));
    tensor *target = graph_input(g, "target", DTYPE_F32, SHAPE(2, 4));
    tensor *h = op_linear(g, x, graph_weight(g, &first), NULL, NULL, 1);
    tensor *base = op_linear(g, h, graph_weight(g, &second), NULL, NULL, 1);
    tensor *low = op_linear(g, h, graph_param(g, &pd), NULL, NULL, 1);
    tensor *y = op_linear(g, low, graph_param(g, &pu), NULL, base, 2);
    tensor *loss = op_mse(g, y, target);
    size_t forward = graph_node_count(g);
    graph_backward(g, loss);
    assert_int_equal(graph_finish(g, NULL), LECO_OK);
    /* d up, d low, d down; nothing through `second` or `first`. */
    assert_int_equal(count_ops(g, OP_LINEAR_DW), 2);
    assert_int_equal(count_ops(g, OP_LINEAR_DX), 1);
    assert_int_equal(graph_node_count(g), forward + 4);

    graph_result(g, loss);
    workspace *ws = workspace_create(&host_memory);
    session *s;
    assert_int_equal(session_open(g, &backend_ref, ws, &s, NULL), LECO_OK);
    float xs[8], ts[8], value;
    for (int i = 0; i < 8; i++) {
        xs[i] = (float)(i - 3);
        ts[i] = (float)(i % 3);
    }
    assert_int_equal(session_write(s, x, xs, 8, NULL), LECO_OK);
    assert_int_equal(session_write(s, target, ts, 8, NULL), LECO_OK);
    assert_int_equal(session_run(s, NULL), LECO_OK);
    assert_int_equal(session_read(s, loss, &value, 1, NULL), LECO_OK);
    /* The gradient predicts what a small step does to the loss. */
    float step = 1e-3f, predicted = 0;
    for (int i = 0; i < 4; i++) predicted += step * (up_grad[i] + down_grad[i]);
    for (int i = 0; i < 4; i++) {
        up[i] += step;
        down[i] += step;
    }
    float moved;
    assert_int_equal(session_write(s, x, xs, 8, NULL), LECO_OK);
    assert_int_equal(session_write(s, target, ts, 8, NULL), LECO_OK);
    assert_int_equal(session_run(s, NULL), LECO_OK);
    assert_int_equal(session_read(s, loss, &moved, 1, NULL), LECO_OK);
    assert_true(fabsf(predicted) > 1e-4f);
    assert_true(fabsf(moved - value - predicted) < 0.02f * fabsf(predicted) + 1e-5f);
    session_destroy(s);
    workspace_destroy(ws);
    graph_destroy(g);
    weight_release(&first);
    weight_release(&second);
}

static void a_loss_without_trainables_is_an_error(void **state)
{
    (void)state;
    graph *g = graph_create(DTYPE_F32);
    tensor *x = graph_input(g, "x", DTYPE_F32, SHAPE(2, 4));
    graph_backward(g, op_mse(g, x, x));
    assert_int_equal(graph_finish(g, NULL), LECO_INVALID);
    graph_destroy(g);
}

static void a_missing_gradient_is_an_error(void **state)
{
    (void)state;
    graph *g = graph_create(DTYPE_F32);
    tensor *x = graph_input(g, "x", DTYPE_F32, SHAPE(2, 4)), *u = graph_input(g, "u", DTYPE_F32, SHAPE(2, 2));
    graph_want_gradient(g, x);
    tensor *grad = NULL;
    graph_backward_from(g, op_slice(g, x, 1, 2), u, &x, 1, &grad);
    leco_error err;
    assert_int_equal(graph_finish(g, &err), LECO_UNSUPPORTED);
    assert_non_null(strstr(err.message, "slice"));
    graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_error_is_kept),        cmocka_unit_test(absurd_shapes_are_refused),
        cmocka_unit_test(frozen_paths_get_no_gradient),   cmocka_unit_test(a_loss_without_trainables_is_an_error),
        cmocka_unit_test(a_missing_gradient_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
