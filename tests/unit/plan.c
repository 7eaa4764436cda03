/* The memory plan: random graphs, run in the planned arena and again with every tensor in memory of its own, must give
 * the same bits; and no two tensors that are alive together may overlap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "backend/session.h"
#include "base/mem.h"
#include "base/rng.h"
#include "graph/plan.h"
#include "op/op.h"

#define ROWS 3
#define WIDTH 8
#define STEPS 40

/* A random graph over [ROWS,WIDTH] tensors with many readers, dead ends and in-place chances. */
static tensor *build_random(graph *g, rng *r, weight *w, tensor **input)
{
    tensor *pool[STEPS + 2];
    size_t count = 0;
    *input = graph_input(g, "x", DTYPE_F32, SHAPE(ROWS, WIDTH));
    pool[count++] = *input;
    for (int i = 0; i < STEPS; i++) {
        tensor *a = pool[rng_randint(r, 0, (int64_t)count)], *b = pool[rng_randint(r, 0, (int64_t)count)];
        tensor *y = NULL;
        switch (rng_randint(r, 0, 5)) {
        case 0:
            y = op_add(g, a, b);
            break;
        case 1:
            y = op_activation(g, a, ACT_SILU);
            break;
        case 2:
            y = op_linear(g, a, graph_weight(g, w), NULL, b, 0.5f);
            break;
        case 3:
            y = op_linear(g, a, graph_weight(g, w), NULL, NULL, 1.0f);
            break;
        default:
            y = op_slice(g, op_concat(g, a, b), WIDTH / 2, WIDTH);
            break;
        }
        assert_non_null(y);
        pool[count++] = y;
        if (rng_randint(r, 0, 8) == 0) graph_result(g, y);
    }
    graph_result(g, pool[count - 1]);
    return pool[count - 1];
}

/* Runs the graph node by node, each tensor in its own buffer. */
static void run_apart(graph *g, const tensor *input, const float *x, void **buffer)
{
    for (size_t i = 0; i < graph_tensor_count(g); i++) {
        const tensor *t = graph_tensor_at(g, i);
        buffer[i] = mem_aligned((size_t)shape_count(&t->shape) * sizeof(float));
    }
    memcpy(buffer[input->id], x, ROWS * WIDTH * sizeof(float));
    for (size_t i = 0; i < graph_node_count(g); i++) {
        const node *n = graph_node_at(g, i);
        const kernel *k = backend_ref.kernel_for(n->op, DTYPE_F32);
        kernel_plan plan;
        const kernel_site at = {n, DTYPE_F32, &host_memory};
        kernel_args args = {.node = n, .plan = &plan, .output = {buffer[n->output[0]->id]}};
        assert_int_equal(kernel_plan_node(k, &at, &plan, NULL), LECO_OK);
        assert_int_equal(kernel_prepare(k, &at, &plan, NULL), LECO_OK);
        assert_int_equal(plan.scratch_bytes, 0);
        for (int p = 0; p < NODE_MAX_INPUTS; p++) {
            const tensor *t = n->input[p];
            if (t != NULL) args.input[p] = t->kind == TENSOR_WEIGHT ? plan.weight[p] : buffer[t->id];
        }
        k->run(&args);
    }
}

static void check_no_overlap(const graph *g)
{
    size_t nodes = graph_node_count(g);
    size_t *scratch = mem_calloc(nodes, sizeof *scratch);
    for (size_t i = 0; i < nodes; i++) scratch[i] = i % 3 * 100;
    memory_plan plan;
    assert_int_equal(plan_create(g, scratch, &plan, NULL), LECO_OK);
    assert_true(plan.live_bytes <= plan.arena_bytes);
    for (size_t i = 0; i < nodes; i++) {
        const node *n = graph_node_at(g, i);
        const tensor *out = n->output[0];
        size_t bytes = ROWS * WIDTH * sizeof(float);
        for (int k = 0; k < NODE_MAX_INPUTS; k++) {
            const tensor *in = n->input[k];
            if (in == NULL || in->kind == TENSOR_WEIGHT) continue;
            size_t a = plan.tensor[in->id], b = plan.tensor[out->id];
            bool shared = k == op_rules[n->op]->shared_input && a == b;
            assert_true(shared || a + bytes <= b || b + bytes <= a);
        }
        size_t end = plan.scratch[i] + scratch[i];
        assert_true(scratch[i] == 0 || end <= plan.tensor[out->id] || plan.scratch[i] >= plan.tensor[out->id] + bytes);
        assert_true(end <= plan.arena_bytes);
    }
    plan_free(&plan);
    mem_free(scratch);
}

static void check_seed(uint64_t seed)
{
    rng r;
    rng_seed(&r, RNG_CPU, seed);
    float x[ROWS * WIDTH], matrix[WIDTH * WIDTH];
    rng_normal(&r, x, ROWS * WIDTH);
    rng_normal(&r, matrix, WIDTH * WIDTH);
    weight w = {.name = "w", .type = DTYPE_F32, .shape = SHAPE(WIDTH, WIDTH), .data = matrix};

    graph *g = graph_create(DTYPE_F32);
    tensor *input;
    build_random(g, &r, &w, &input);
    workspace *ws = workspace_create(&host_memory);
    session *s = NULL;
    leco_error err = {0};
    if (session_open(g, &backend_ref, ws, &s, &err) != LECO_OK) fail_msg("seed %d: %s", (int)seed, err.message);
    assert_int_equal(session_write(s, input, x, ROWS * WIDTH, NULL), LECO_OK);
    assert_int_equal(session_run(s, NULL), LECO_OK);

    void **buffer = mem_calloc(graph_tensor_count(g), sizeof(void *));
    run_apart(g, input, x, buffer);
    for (size_t i = 0; i < graph_tensor_count(g); i++) {
        const tensor *t = graph_tensor_at(g, i);
        if (t->is_result && memcmp(session_data(s, t), buffer[i], ROWS * WIDTH * sizeof(float)) != 0) {
            fail_msg("seed %d: tensor %d differs when memory is shared", (int)seed, t->id);
        }
    }
    check_no_overlap(g);
    for (size_t i = 0; i < graph_tensor_count(g); i++) mem_free_aligned(buffer[i]);
    mem_free(buffer);
    session_destroy(s);
    workspace_destroy(ws);
    graph_destroy(g);
    weight_release(&w);
}

static void random_graphs(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) check_seed(seed);
}

/* A chain of elementwise operators needs the memory of one tensor, whatever its length. */
static void chain_runs_in_place(void **state)
{
    (void)state;
    graph *g = graph_create(DTYPE_F32);
    tensor *y = graph_input(g, "x", DTYPE_F32, SHAPE(ROWS, 16));
    for (int i = 0; i < 10; i++) y = op_activation(g, y, ACT_SILU);
    graph_result(g, y);
    size_t scratch[10] = {0};
    memory_plan plan;
    assert_int_equal(plan_create(g, scratch, &plan, NULL), LECO_OK);
    assert_int_equal(plan.arena_bytes, ROWS * 16 * sizeof(float));
    plan_free(&plan);
    graph_destroy(g);
}

/* Tensors that live one after the other share memory although none is taken over. */
static void dead_memory_is_reused(void **state)
{
    (void)state;
    graph *g = graph_create(DTYPE_F32);
    tensor *y = graph_input(g, "x", DTYPE_F32, SHAPE(1, 2, 2, 16));
    size_t scratch[6] = {0};
    for (int i = 0; i < 6; i++) y = op_upsample(g, y, 2, 2);
    graph_result(g, y);
    memory_plan plan;
    assert_int_equal(plan_create(g, scratch, &plan, NULL), LECO_OK);
    assert_int_equal(plan.arena_bytes, 2 * 64 * sizeof(float));
    plan_free(&plan);
    graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_graphs),
        cmocka_unit_test(chain_runs_in_place),
        cmocka_unit_test(dead_memory_is_reused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
