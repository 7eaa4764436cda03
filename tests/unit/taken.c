/* Where blocks fit: the same places as looking at every block would give; and a plan of many nodes in little time. */
#include "test_support.h"

#include <time.h>

#include "base/rng.h"
#include "graph/plan.h"
#include "graph/taken.h"
#include "op/op.h"

enum { BLOCKS = 120 };

typedef struct block {
    size_t first, last, offset, bytes;
} block;

static bool is_free(const block *b, size_t count, const block *asked, size_t offset)
{
    for (size_t i = 0; i < count; i++) {
        bool together = b[i].first <= asked->last && asked->first <= b[i].last;
        if (together && b[i].offset < offset + asked->bytes && offset < b[i].offset + b[i].bytes) return false;
    }
    return true;
}

static void fits_are_the_lowest(void **state)
{
    (void)state;
    rng r;
    rng_seed(&r, RNG_CPU, 1);
    for (int round = 0; round < 200; round++) {
        size_t moments = (size_t)rng_randint(&r, 1, 40);
        taken *t = taken_create(moments);
        assert_non_null(t);
        block b[BLOCKS];
        for (size_t i = 0; i < BLOCKS; i++) {
            b[i].first = (size_t)rng_randint(&r, 0, (int64_t)moments);
            b[i].last = (size_t)rng_randint(&r, (int64_t)b[i].first, (int64_t)moments);
            b[i].bytes = (size_t)rng_randint(&r, 1, 10);
            size_t lowest = 0;
            while (!is_free(b, i, &b[i], lowest)) lowest++;
            b[i].offset = taken_fit(t, b[i].first, b[i].last, b[i].bytes);
            assert_int_equal(b[i].offset, lowest);
            /* Sometimes leave a hole. */
            if (rng_randint(&r, 0, 4) == 0) b[i].offset += (size_t)rng_randint(&r, 1, 20);
            if (!is_free(b, i, &b[i], b[i].offset)) b[i].offset = lowest;
            assert_true(taken_add(t, b[i].first, b[i].last, b[i].offset, b[i].bytes));
        }
        taken_destroy(t);
    }
}

/* Each result of a long chain is read again on the way back, as in a training step. */
static void many_nodes_take_no_time_squared(void **state)
{
    (void)state;
    enum { LENGTH = 20000, NODES = 2 * LENGTH - 1 };
    static tensor *at[LENGTH];
    static size_t scratch[NODES];
    graph *g = graph_create(DTYPE_F32);
    tensor *y = graph_input(g, "x", DTYPE_F32, SHAPE(1, 64));
    for (int i = 0; i < LENGTH; i++) y = at[i] = op_activation(g, y, ACT_SILU);
    for (int i = LENGTH; i-- > 1;) y = op_add(g, y, at[i - 1]);
    graph_result(g, y);
    leco_error err = {0};
    assert_works(graph_finish(g, &err), &err);
    assert_true(graph_node_count(g) == NODES);
    for (size_t i = 0; i < NODES; i++) scratch[i] = i * 40503 % 977 * 64;
    memory_plan plan;
    clock_t begin = clock();
    assert_works(plan_create(g, scratch, &plan, &err), &err);
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    assert_true(plan.arena_bytes >= plan.live_bytes && plan.live_bytes >= LENGTH * 64 * sizeof(float));
    if (seconds > 3) fail_msg("a plan of %d nodes took %.1f seconds", NODES, seconds); /* 10 or more if squared */
    plan_free(&plan);
    graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fits_are_the_lowest),
        cmocka_unit_test(many_nodes_take_no_time_squared),
    };
    return cmocka_run_group_tests_name("unit/taken", tests, NULL, NULL);
}
