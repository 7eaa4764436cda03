/* Whole graphs through sessions: the memory plan packs and shares memory, and results must not change by a bit. The
 * reference kernels compute the same numbers wherever their operands lie, so every difference is a tensor that was
 * overwritten too early. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "machine.h"

/* `result` of the session against the machine's, which gave each tensor memory of its own. */
static void expect_equal(session *s, const machine *m, const trial *t, const tensor *result, const char *what)
{
    size_t count = (size_t)shape_count(&result->shape);
    double *expected = mem_calloc(count, sizeof *expected);
    assert_non_null(expected);
    machine_read(m, result, expected);
    const float *got = session_data(s, result);
    for (size_t i = 0; i < count; i++) {
        if (got[i] == (float)expected[i]) continue;
        fail_msg("%s: element %zu of %s is %.9g in a session, %.9g alone (LECO_TEST_SEED=%llu)", t->c->name, i, what,
                 (double)got[i], expected[i], (unsigned long long)t->seed);
    }
    mem_free(expected);
}

static void sharing_memory_changes_nothing(void **state)
{
    const op_case *c = *state;
    leco_error err;
    trial *t = trial_create(c, DTYPE_F32, DTYPE_F32);
    trial_mark_results(t);
    machine *m = machine_create(t, &backend_ref);
    if (!machine_run(m, (int)graph_node_count(t->g) - 1, false)) fail_msg("%s", machine_problem(m));
    workspace *w = workspace_create(&host_memory);
    assert_non_null(w);
    session *s;
    if (session_open(t->g, &backend_ref, w, &s, &err) != LECO_OK) fail_msg("%s: %s", c->name, err.message);
    assert_true(workspace_bytes(w) >= session_plan_arena_bytes(session_planned(s)));
    for (int run = 0; run < 2; run++) { /* a second run finds the first one's leavings */
        trial_load(t, s);
        assert_int_equal(session_run(s, NULL), LECO_OK);
        expect_equal(s, m, t, t->y, "y");
        for (int i = 0; i < t->leaf_count; i++) {
            if (t->leaves[i].grad != NULL) expect_equal(s, m, t, t->leaves[i].grad, t->leaves[i].name);
        }
    }
    session_destroy(s);
    workspace_destroy(w);
    machine_destroy(m);
    trial_destroy(t);
}

int main(void)
{
    struct CMUnitTest *tests = mem_calloc(op_case_count, sizeof *tests);
    if (tests == NULL) return 1;
    size_t count = 0;
    for (size_t i = 0; i < op_case_count; i++) {
        if (op_cases[i].flags & BENCH) continue;
        tests[count++] = (struct CMUnitTest){.name = op_cases[i].name,
                                             .test_func = sharing_memory_changes_nothing,
                                             .initial_state = (void *)(uintptr_t)&op_cases[i]};
    }
    int failed = _cmocka_run_group_tests("sessions", tests, count, NULL, NULL);
    mem_free(tests);
    return failed;
}
