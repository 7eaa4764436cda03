/* Operators refuse what doesn't fit, and say which tensors and sizes didn't. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "op/op.h"
#include "trial.h"

/* One graph with leaves to misuse. */
typedef struct bench {
    graph *g;
    weight weight[5];
    param param;
    tensor *image, *tokens, *ids;
    tensor *matrix, *kernel, *vector, *table, *trainable;
} bench;

static const float zeros[64];
static float value[64], grad[64];

static tensor *make_weight(bench *b, int i, const char *name, shape s)
{
    b->weight[i] = (weight){.name = name, .type = DTYPE_F32, .shape = s, .data = zeros};
    return graph_weight(b->g, &b->weight[i]);
}

static void open_bench(bench *b)
{
    b->g = graph_create(DTYPE_F32);
    assert_non_null(b->g);
    graph_set_name(b->g, "block.here");
    b->image = graph_input(b->g, "image", DTYPE_F32, SHAPE(2, 3, 5, 6));
    b->tokens = graph_input(b->g, "tokens", DTYPE_F32, SHAPE(2, 7, 6));
    b->ids = graph_input(b->g, "ids", DTYPE_I32, SHAPE(2, 7));
    b->matrix = make_weight(b, 0, "net.matrix", SHAPE(4, 5));
    b->kernel = make_weight(b, 1, "net.kernel", SHAPE(2, 3, 3, 3));
    b->vector = make_weight(b, 2, "net.vector", SHAPE(5));
    b->table = make_weight(b, 3, "net.table", SHAPE(9, 6));
    b->param = (param){.name = "lora.up",
                       .type = DTYPE_F32,
                       .shape = SHAPE(2, 6, 1, 1),
                       .trained = true,
                       .value = value,
                       .grad = grad};
    b->trainable = graph_param(b->g, &b->param);
}

static const int no_padding[4] = {0};

static void bad_linear_input(bench *b)
{
    op_linear(b->g, b->tokens, b->matrix, NULL, NULL, 1);
}

static void bad_linear_bias(bench *b)
{
    op_linear(b->g, b->tokens, b->table, b->vector, NULL, 1);
}

static void bad_linear_add(bench *b)
{
    op_linear(b->g, b->tokens, b->table, NULL, b->tokens, 1);
}

static void bad_linear_kernel(bench *b)
{
    op_linear(b->g, b->tokens, b->kernel, NULL, NULL, 1);
}

static void activation_as_weight(bench *b)
{
    op_linear(b->g, b->tokens, b->tokens, NULL, NULL, 1);
}

static void bad_hadamard(bench *b)
{
    op_hadamard(b->g, b->trainable, b->trainable, b->trainable, b->trainable, 1, SHAPE(2, 6));
}

static void hadamard_of_weights(bench *b)
{
    op_hadamard(b->g, b->matrix, b->matrix, b->matrix, b->matrix, 1, SHAPE(4, 5));
}

static void integers_as_activation(bench *b)
{
    op_linear(b->g, b->ids, b->matrix, NULL, NULL, 1);
}

static void weight_as_activation(bench *b)
{
    op_activation(b->g, b->table, ACT_SILU);
}

static void missing_input(bench *b)
{
    op_add(b->g, b->tokens, NULL);
}

static void bad_conv_channels(bench *b)
{
    op_conv2d(b->g, b->image, b->kernel, NULL, NULL, 1, no_padding);
}

static void bad_product(bench *b)
{
    op_product(b->g, b->trainable, b->trainable, 5, 1, SHAPE(2, 6));
}

static void product_of_weights(bench *b)
{
    op_product(b->g, b->matrix, b->matrix, 5, 1, SHAPE(4, 4));
}

static void bad_swap(bench *b)
{
    op_swap(b->g, b->trainable, (const int64_t[]){2, 3, 1, 3}, SHAPE(2, 6));
}

static void bad_norms(bench *b)
{
    op_row_norms(b->g, b->matrix, b->trainable, b->trainable, 1, false);
}

static void bad_affine(bench *b)
{
    op_affine(b->g, b->image, b->trainable, NULL, NULL, 1, 1);
}

static void bad_multiply(bench *b)
{
    op_multiply(b->g, b->image, b->trainable);
}

static void small_image(bench *b)
{
    tensor *x = graph_input(b->g, "tiny", DTYPE_F32, SHAPE(1, 2, 2, 3));
    op_conv2d(b->g, x, b->kernel, NULL, NULL, 1, no_padding);
}

static void odd_stride(bench *b)
{
    tensor *x = graph_input(b->g, "tiny", DTYPE_F32, SHAPE(1, 9, 9, 3));
    op_conv2d(b->g, x, b->kernel, NULL, NULL, 3, no_padding);
}

static void bad_groups(bench *b)
{
    op_group_norm(b->g, b->image, b->vector, b->vector, 4, 1e-5f, false);
}

static void bad_gamma(bench *b)
{
    op_layer_norm(b->g, b->tokens, b->vector, b->vector, 1e-5f);
}

static void no_eps(bench *b)
{
    op_layer_norm(b->g, b->tokens, b->vector, b->vector, 0);
}

static void bad_heads(bench *b)
{
    op_attention(b->g, b->tokens, b->tokens, b->tokens, 4, 0, false);
}

static void bad_causal(bench *b)
{
    tensor *k = graph_input(b->g, "keys", DTYPE_F32, SHAPE(2, 8, 6));
    op_attention(b->g, b->tokens, k, k, 2, 0, true);
}

static void bad_batch(bench *b)
{
    tensor *k = graph_input(b->g, "keys", DTYPE_F32, SHAPE(1, 7, 6));
    op_attention(b->g, b->tokens, k, k, 2, 0, false);
}

static void bad_values(bench *b)
{
    tensor *v = graph_input(b->g, "values", DTYPE_F32, SHAPE(2, 8, 6));
    op_attention(b->g, b->tokens, b->tokens, v, 2, 0, false);
}

static void odd_geglu(bench *b)
{
    op_geglu(b->g, graph_input(b->g, "odd", DTYPE_F32, SHAPE(2, 5)));
}

static void bad_concat(bench *b)
{
    op_concat(b->g, b->image, b->tokens);
}

static void bad_slice(bench *b)
{
    op_slice(b->g, b->tokens, 4, 3);
}

static void bad_vector(bench *b)
{
    op_add_spatial(b->g, b->image, graph_input(b->g, "v", DTYPE_F32, SHAPE(2, 5)));
}

static void shrinking_upsample(bench *b)
{
    op_upsample(b->g, b->image, 2, 5);
}

static void odd_timesteps(bench *b)
{
    op_timestep_embedding(b->g, graph_input(b->g, "t", DTYPE_F32, SHAPE(2)), 7, true, 0);
}

static void bad_positions(bench *b)
{
    op_embedding(b->g, b->ids, b->table, make_weight(b, 4, "net.position", SHAPE(6, 6)));
}

static void bad_index(bench *b)
{
    op_select_rows(b->g, b->tokens, graph_input(b->g, "index", DTYPE_I32, SHAPE(3)));
}

static void bad_target(bench *b)
{
    op_mse(b->g, b->tokens, b->image);
}

static void gradient_of_a_target(bench *b)
{
    tensor *target = graph_input(b->g, "target", DTYPE_F32, SHAPE(2, 7, 6));
    graph_want_gradient(b->g, target);
    graph_backward(b->g, op_mse(b->g, b->tokens, target));
}

static void bad_turn(bench *b)
{
    op_huber(b->g, b->tokens, b->tokens, graph_input(b->g, "c", DTYPE_F32, SHAPE(2)));
}

static void gradient_of_a_turn(bench *b)
{
    tensor *c = graph_input(b->g, "c", DTYPE_F32, (shape){0});
    graph_want_gradient(b->g, c);
    graph_backward(b->g, op_huber(b->g, b->tokens, graph_input(b->g, "target", DTYPE_F32, SHAPE(2, 7, 6)), c));
}

static void gradient_of_a_slice(bench *b)
{
    graph_want_gradient(b->g, b->tokens);
    tensor *part = op_slice(b->g, b->tokens, 1, 2);
    graph_backward_from(b->g, part, graph_input(b->g, "u", DTYPE_F32, part->shape), NULL, 0, NULL);
}

/* What each misuse must say, in parts. */
static const struct {
    const char *name;
    void (*misuse)(bench *b);
    const char *parts[4];
} misuses[] = {
    {"linear: input", bad_linear_input, {"block.here", "tokens [2,7,6] has 6", "net.matrix [4,5] wants 5"}},
    {"linear: bias", bad_linear_bias, {"net.vector [5]", "9 elements"}},
    {"linear: add", bad_linear_add, {"add tokens [2,7,6]", "[2,7,9]"}},
    {"linear: kernel", bad_linear_kernel, {"net.kernel [2,3,3,3]", "[out,in]"}},
    {"linear: an activation as weight", activation_as_weight, {"tokens [2,7,6]", "neither a weight nor a parameter"}},
    {"linear: integers", integers_as_activation, {"x ids [2,7] is int32", "float32"}},
    {"activation: a weight", weight_as_activation, {"net.table [9,6]", "is a weight"}},
    {"add: nothing", missing_input, {"add at block.here: b is missing"}},
    {"conv2d: channels", bad_conv_channels, {"image [2,3,5,6] has 6", "net.kernel [2,3,3,3] wants 3"}},
    {"product: sizes", bad_product, {"lora.up [2,6,1,1]", "over 5", "[2,6]"}},
    {"product: weights", product_of_weights, {"net.matrix [4,5] is a weight"}},
    {"swap: sizes", bad_swap, {"lora.up [2,6,1,1]", "elements"}},
    {"row_norms: shapes", bad_norms, {"lora.up [2,6,1,1]", "net.matrix [4,5]"}},
    {"affine: channels", bad_affine, {"lora.up [2,6,1,1]", "[6]"}},
    {"multiply: shapes", bad_multiply, {"image [2,3,5,6]", "differ"}},
    {"conv2d: small image", small_image, {"[1,2,2,3]", "smaller than the kernel"}},
    {"conv2d: stride", odd_stride, {"stride is 3"}},
    {"group_norm: groups", bad_groups, {"image [2,3,5,6]", "6 channels don't make 4 groups"}},
    {"layer_norm: gamma", bad_gamma, {"gamma net.vector [5]", "6 elements"}},
    {"layer_norm: eps", no_eps, {"eps is 0"}},
    {"attention: heads", bad_heads, {"q tokens [2,7,6]", "6 channels don't make 4 heads"}},
    {"attention: causal", bad_causal, {"as many keys as queries", "tokens [2,7,6]", "keys [2,8,6]"}},
    {"attention: batch", bad_batch, {"tokens [2,7,6]", "keys [1,7,6]", "batch"}},
    {"attention: values", bad_values, {"v values [2,8,6] should be [2,7,6]"}},
    {"geglu: odd", odd_geglu, {"odd [2,5]", "odd number"}},
    {"hadamard: shapes", bad_hadamard, {"lora.up [2,6,1,1]", "2 to 2"}},
    {"hadamard: weights", hadamard_of_weights, {"net.matrix [4,5] is not a parameter"}},
    {"concat: shapes", bad_concat, {"image [2,3,5,6]", "tokens [2,7,6]"}},
    {"slice: range", bad_slice, {"tokens [2,7,6]", "3 channels from 4"}},
    {"add_spatial: vector", bad_vector, {"v [2,5] should be [2,6]"}},
    {"upsample: smaller", shrinking_upsample, {"image [2,3,5,6]", "2 x 5"}},
    {"timestep_embedding: odd", odd_timesteps, {"width is 7"}},
    {"embedding: positions", bad_positions, {"net.position [6,6]", "ids [2,7]"}},
    {"select_rows: index", bad_index, {"index index [3] should be [2]"}},
    {"mse: target", bad_target, {"target image [2,3,5,6] should be [2,7,6]"}},
    {"mse: gradient of the target", gradient_of_a_target, {"no gradient is defined for the target"}},
    {"huber: c", bad_turn, {"c c [2] should be []"}},
    {"huber: gradient of c", gradient_of_a_turn, {"no gradient is defined for c"}},
    {"slice: gradient", gradient_of_a_slice, {"slice has no gradient"}},
};

static void misuse_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof misuses / sizeof *misuses; i++) {
        bench b = {0};
        leco_error err;
        open_bench(&b);
        misuses[i].misuse(&b);
        if (graph_finish(b.g, &err) == LECO_OK) fail_msg("%s is accepted", misuses[i].name);
        for (int k = 0; k < 4 && misuses[i].parts[k] != NULL; k++) {
            if (strstr(err.message, misuses[i].parts[k]) == NULL) {
                fail_msg("%s: \"%s\" doesn't say \"%s\"", misuses[i].name, err.message, misuses[i].parts[k]);
            }
        }
        graph_destroy(b.g);
    }
}

/* After an error the builders are no-ops that take NULL everywhere. */
static void errors_pass_through(void **state)
{
    (void)state;
    graph *g = graph_create(DTYPE_F32);
    assert_non_null(g);
    assert_null(graph_fail(g, LECO_FORMAT, "the first"));
    assert_null(op_linear(g, NULL, NULL, NULL, NULL, 1));
    assert_null(op_conv2d(g, NULL, NULL, NULL, NULL, 1, no_padding));
    assert_null(op_group_norm(g, NULL, NULL, NULL, 1, 1, true));
    assert_null(op_layer_norm(g, NULL, NULL, NULL, 1));
    assert_null(op_attention(g, NULL, NULL, NULL, 1, 0, false));
    assert_null(op_geglu(g, NULL));
    assert_null(op_activation(g, NULL, ACT_GELU));
    assert_null(op_add(g, NULL, NULL));
    assert_null(op_add_spatial(g, NULL, NULL));
    assert_null(op_sum_spatial(g, NULL, 1));
    assert_null(op_hadamard(g, NULL, NULL, NULL, NULL, 1, (shape){0}));
    assert_null(op_concat(g, NULL, NULL));
    assert_null(op_slice(g, NULL, 0, 1));
    assert_null(op_upsample(g, NULL, 1, 1));
    assert_null(op_timestep_embedding(g, NULL, 2, true, 0));
    assert_null(op_embedding(g, NULL, NULL, NULL));
    assert_null(op_add_rows(g, NULL, NULL, NULL, 0));
    assert_null(op_select_rows(g, NULL, NULL));
    assert_null(op_mse(g, NULL, NULL));
    assert_null(op_huber(g, NULL, NULL, NULL));
    leco_error err;
    assert_int_equal(graph_finish(g, &err), LECO_FORMAT);
    assert_string_equal(err.message, "the first");
    graph_destroy(g);
}

/* A frozen branch emits nothing, and a branch that only leads to a parameter stops there. */
static void only_wanted_gradients_are_emitted(void **state)
{
    (void)state;
    bench b = {0};
    open_bench(&b);
    tensor *h = op_activation(b.g, b.tokens, ACT_GELU);
    tensor *y = op_linear(b.g, h, b.trainable, NULL, NULL, 1);
    graph_backward(b.g, op_mse(b.g, y, graph_input(b.g, "target", DTYPE_F32, SHAPE(2, 7, 2))));
    leco_error err;
    assert_int_equal(graph_finish(b.g, &err), LECO_OK);
    const op_code expected[] = {OP_ACTIVATION, OP_LINEAR, OP_MSE, OP_MSE_DX, OP_LINEAR_DW};
    assert_int_equal(graph_node_count(b.g), sizeof expected / sizeof *expected);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        assert_int_equal(graph_node_at(b.g, i)->op, expected[i]);
    }
    assert_int_equal(graph_node_at(b.g, 4)->output[0]->shape.rank, 4);
    graph_destroy(b.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(misuse_is_named),
        cmocka_unit_test(errors_pass_through),
        cmocka_unit_test(only_wanted_gradients_are_emitted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
