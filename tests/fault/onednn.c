/* Each call of oneDNN that prepares a graph's kernels fails in turn: that must be told as what it is, name the node,
 * and leave nothing behind nor release anything twice (the address sanitizer watches). It is no reason to compute a
 * convolution in another way.
 *
 * (To let oneDNN's own allocations fail is no use: it writes through the null pointer.) */
#define _GNU_SOURCE /* RTLD_NEXT */
#include "test_support.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

#include "backend/cpu/dnnl_compat.h"
#include "backend/session.h"
#include "op/op.h"

static int calls, failing; /* the call that fails; 0: none */
static dnnl_status_t failure;

/* oneDNN's function, unless it is its turn to fail. */
#define GUARD(name, parameters, arguments)                                                                             \
    dnnl_status_t name parameters                                                                                      \
    {                                                                                                                  \
        static dnnl_status_t(*real) parameters;                                                                        \
        if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name);                                                          \
        return ++calls == failing ? failure : real arguments;                                                          \
    }

GUARD(dnnl_primitive_attr_create, (dnnl_primitive_attr_t * attr), (attr))
GUARD(dnnl_primitive_attr_set_post_ops, (dnnl_primitive_attr_t attr, const_dnnl_post_ops_t ops), (attr, ops))
GUARD(dnnl_primitive_attr_set_scratchpad_mode, (dnnl_primitive_attr_t attr, dnnl_scratchpad_mode_t mode), (attr, mode))
GUARD(dnnl_post_ops_create, (dnnl_post_ops_t * ops), (ops))
GUARD(dnnl_memory_create, (dnnl_memory_t * memory, compat_view view, dnnl_engine_t engine, void *data),
      (memory, view, engine, data))
GUARD(dnnl_stream_create, (dnnl_stream_t * stream, dnnl_engine_t engine, unsigned flags), (stream, engine, flags))
GUARD(dnnl_reorder_primitive_desc_create,
      (dnnl_primitive_desc_t * pd, compat_view from, dnnl_engine_t from_engine, compat_view to, dnnl_engine_t to_engine,
       const_dnnl_primitive_attr_t attr),
      (pd, from, from_engine, to, to_engine, attr))
GUARD(dnnl_primitive_create, (dnnl_primitive_t * primitive, const_dnnl_primitive_desc_t pd), (primitive, pd))
GUARD(dnnl_primitive_execute,
      (const_dnnl_primitive_t primitive, dnnl_stream_t stream, int count, const dnnl_exec_arg_t *args),
      (primitive, stream, count, args))

#define CHANNELS 16
#define SIDE 6

static float conv_values[CHANNELS * CHANNELS * 9], linear_values[CHANNELS * CHANNELS];
static float bias_values[CHANNELS];

static weight conv_weight = {.name = "conv.weight", .type = DTYPE_F32, .data = conv_values};
static weight down_weight = {.name = "down.weight", .type = DTYPE_F32, .data = conv_values};
static weight linear_weight = {.name = "linear.weight", .type = DTYPE_F32, .data = linear_values};
static weight bias_weight = {.name = "conv.bias", .type = DTYPE_F32, .data = bias_values};

/* A convolution with a sum, one with stride 2, a scaled product, and the gradients of all three: every kind of
 * primitive and post-op there is. */
static graph *build(dtype type)
{
    graph *g = graph_create(type);
    assert_non_null(g);
    const int pad[4] = {1, 1, 1, 1};
    conv_weight.shape = down_weight.shape = SHAPE(CHANNELS, CHANNELS, 3, 3);
    linear_weight.shape = SHAPE(CHANNELS, CHANNELS);
    bias_weight.shape = SHAPE(CHANNELS);
    tensor *x = graph_input(g, "x", type, SHAPE(1, SIDE, SIDE, CHANNELS)), *gradient;
    graph_want_gradient(g, x);
    graph_set_name(g, "node.conv");
    tensor *h = op_conv2d(g, x, graph_weight(g, &conv_weight), graph_weight(g, &bias_weight), x, 1, pad);
    graph_set_name(g, "node.down");
    h = op_conv2d(g, h, graph_weight(g, &down_weight), NULL, NULL, 2, pad);
    graph_set_name(g, "node.linear");
    tensor *y = op_linear(g, h, graph_weight(g, &linear_weight), NULL, h, 0.5f);
    tensor *u = graph_input(g, "u", type, SHAPE(1, SIDE / 2, SIDE / 2, CHANNELS));
    graph_backward_from(g, y, u, &x, 1, &gradient);
    graph_result(g, y);
    graph_result(g, gradient);
    return g;
}

static bool gathered(const weight *w)
{
    for (const weight_form *v = w->forms; v; v = v->next)
        if (v->key_size >= 6 && memcmp(v->key, "gather", 6) == 0) return true;
    return false;
}

static leco_status prepare(dtype type, leco_error *err)
{
    graph *g = build(type);
    workspace *w = workspace_create(&host_memory);
    session *s = NULL;
    assert_non_null(w);
    leco_status status = session_open(g, &backend_cpu, w, &s, err);
    session_destroy(s);
    workspace_destroy(w);
    graph_destroy(g);
    assert_false(gathered(&conv_weight) || gathered(&down_weight));
    weight_release(&conv_weight);
    weight_release(&down_weight);
    weight_release(&linear_weight);
    weight_release(&bias_weight);
    return status;
}

static void exhaust(dtype type, dnnl_status_t status, leco_status expected, const char *part)
{
    if (!backend_cpu.supports(type)) return;
    leco_error err = {0};
    assert_works(prepare(type, &err), &err);
    failure = status;
    for (failing = 1;; failing++) {
        calls = 0;
        leco_status got = prepare(type, &err);
        if (calls < failing) break;
        if (got != expected) fail_msg("call %d: status %d, \"%s\"", failing, (int)got, err.message);
        if (!strstr(err.message, part) || !strstr(err.message, "node.") || !strstr(err.message, "oneDNN"))
            fail_msg("call %d: \"%s\"", failing, err.message);
    }
    assert_true(failing > 50);
    failing = 0;
}

static void onednn_out_of_memory(void **state)
{
    (void)state;
    exhaust(DTYPE_F32, dnnl_out_of_memory, LECO_MEMORY, "out of memory");
    exhaust(DTYPE_BF16, dnnl_out_of_memory, LECO_MEMORY, "out of memory");
}

static void onednn_fails(void **state)
{
    (void)state;
    exhaust(DTYPE_F32, dnnl_runtime_error, LECO_INTERNAL, "runtime_error");
    exhaust(DTYPE_BF16, dnnl_invalid_arguments, LECO_INTERNAL, "invalid_arguments");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(onednn_out_of_memory),
        cmocka_unit_test(onednn_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
