/* The CPU backend, and any other, against the reference, operator by operator, forward and backward, in f32, bf16 and
 * f16.
 *
 * Both backends walk the same graph in step. After each node the reference's result, rounded to what the CPU backend's
 * tensor can hold, replaces the result on both sides: each kernel is judged on equal inputs, by its own error alone.
 *
 *     op_cpu_ops                    all cases
 *     op_cpu_ops PATTERN            those whose name matches, with * and ?
 *     op_cpu_ops --bench [TEXT]     times the bench cases, or all whose name contains TEXT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/cpu/kernels.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "machine.h"
#include "test_support.h"

/* Largest error allowed, relative to the largest element of the reference's result (or to `smallest_scale`: where
 * everything cancels only rounding noise is left).
 * f32: sums of at most a thousand products in any order, 2^-24 each, and the fast exponentials of the kernels.
 * bf16 results: half a unit in the last place is 2^-9, and one more for what an implementation adds. Where an operand
 * is rounded to bf16 first (a trainable parameter, softmax's P and its gradient) the products with it may cancel:
 * three times that. f16 has three bits more.
 * The log-sum-exp of a bf16 graph is an exponent, its absolute error counts: P's own rounding is 2^-9, a part in 10000
 * is nothing beside it and lets kernels use a shorter polynomial. */
static const double f32_tolerance = 1e-5, bf16_tolerance = 0x1.8p-8, f16_tolerance = 0x1.8p-11, lse_tolerance = 1e-4,
                    smallest_scale = 0.05;
/* A whole graph in a session: errors of up to thirty nodes add up. */
static const double f32_graph_tolerance = 1e-4, bf16_graph_tolerance = 0.05;

static double largest(const double *values, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++) most = fmax(most, fabs(values[i]));
    return most;
}

static void compare(const trial *t, const char *what, const double *expected, const double *got, size_t count,
                    double tolerance, const char *type)
{
    double scale = fmax(largest(expected, count), tolerance == lse_tolerance ? 1 : smallest_scale);
    for (size_t i = 0; i < count; i++) {
        if (fabs(got[i] - expected[i]) <= tolerance * scale) continue; /* false for NaN */
        fail_msg(
            "%s in %s: %s, element %zu of %zu: %.9g, the reference says %.9g; largest is %.3g (LECO_TEST_SEED=%llu)",
            t->c->name, type, what, i, count, got[i], expected[i], scale, (unsigned long long)t->seed);
    }
}

static double tolerance_of(const node *n, int output)
{
    const dtype type = n->output[output]->type;
    if (type == DTYPE_BF16 || type == DTYPE_F16) {
        const double tolerance = type == DTYPE_F16 ? f16_tolerance : bf16_tolerance;
        bool rounds_operands = n->op == OP_ATTENTION || n->op == OP_ATTENTION_GRAD;
        for (int k = 0; k < NODE_MAX_INPUTS; k++) {
            rounds_operands |= n->input[k] != NULL && n->input[k]->kind == TENSOR_PARAM;
        }
        /* A weight that was computed, in f32. */
        bool has_weight = n->op == OP_LINEAR || n->op == OP_LINEAR_DX || n->op == OP_CONV2D || n->op == OP_CONV2D_DX;
        rounds_operands |= has_weight && n->input[1]->kind == TENSOR_NODE;
        return rounds_operands ? 3 * tolerance : tolerance;
    }
    if (n->op == OP_ATTENTION && n->output[0]->type != DTYPE_F32) return lse_tolerance;
    return f32_tolerance;
}

/* Compares one output of a node on both sides, then makes them equal. */
static void settle(machine *ref, machine *cpu, const trial *t, const tensor *ref_out, const tensor *cpu_out,
                   const node *n, int index)
{
    size_t count = (size_t)shape_count(&ref_out->shape);
    double *expected = mem_calloc(count, sizeof *expected), *got = mem_calloc(count, sizeof *got);
    assert_true(expected != NULL && got != NULL);
    machine_read(ref, ref_out, expected);
    machine_read(cpu, cpu_out, got);
    char what[128];
    snprintf(what, sizeof what, "%s%s %d, output %d", n->backward ? "backward " : "", op_name(n->op), n->id, index);
    compare(t, what, expected, got, count, tolerance_of(n, index), dtype_name(graph_dtype(t->g)));
    machine_write(cpu, cpu_out, expected);
    machine_read(cpu, cpu_out, expected);
    machine_write(ref, ref_out, expected);
    mem_free(expected);
    mem_free(got);
}

static void walk_in_step(const op_case *c, const backend *b, dtype type, bool shared)
{
    trial *ref_trial = trial_create(c, DTYPE_F32, type), *cpu_trial = trial_create(c, type, type);
    machine *ref = machine_create(ref_trial, &backend_ref), *cpu = machine_create(cpu_trial, b);
    size_t nodes = graph_node_count(ref_trial->g);
    assert_int_equal(nodes, graph_node_count(cpu_trial->g));
    for (size_t i = 0; i < nodes; i++) {
        const node *r = graph_node_at(ref_trial->g, i), *n = graph_node_at(cpu_trial->g, i);
        assert_int_equal(r->op, n->op);
        if (!machine_run_node(ref, (int)i, shared)) fail_msg("%s", machine_problem(ref));
        if (!machine_run_node(cpu, (int)i, shared)) fail_msg("%s", machine_problem(cpu));
        for (int k = 0; k < NODE_MAX_OUTPUTS; k++) {
            if (n->output[k] != NULL) settle(ref, cpu, cpu_trial, r->output[k], n->output[k], n, k);
        }
    }
    machine_destroy(ref);
    machine_destroy(cpu);
    trial_destroy(ref_trial);
    trial_destroy(cpu_trial);
}

static void operators_agree(const op_case *c, const backend *b, dtype type)
{
    if (!backend_cpu.supports(type)) skip();
    walk_in_step(c, b, type, false);
    walk_in_step(c, b, type, true);
}

static void operators_agree_f32(void **state)
{
    operators_agree(*state, &backend_cpu, DTYPE_F32);
}

static void operators_agree_bf16(void **state)
{
    operators_agree(*state, &backend_cpu, DTYPE_BF16);
}

/* Backends that are neither this one nor the reference itself, and have their device. */
static const backend *other_backend(size_t *index)
{
    const backend *b;
    while ((b = backend_at((*index)++)) == &backend_cpu || b == &backend_ref ||
           (b != NULL && backend_open(b, NULL) != LECO_OK)) {
    }
    return b;
}

static void other_backends_agree(void **state)
{
    static const dtype types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    const backend *b;
    for (size_t i = 0; (b = other_backend(&i)) != NULL;) {
        for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
            if (!b->supports(types[k])) continue;
            walk_in_step(*state, b, types[k], false);
            walk_in_step(*state, b, types[k], true);
        }
    }
}

/* The same operands give the same bits each time: nothing is added up in an order that chance decides. */
static void repeat_node(machine *m, const trial *t, const node *n)
{
    double *first[NODE_MAX_OUTPUTS] = {NULL};
    for (int run = 0; run < 4; run++) {
        if (!machine_run_node(m, n->id, false)) fail_msg("%s", machine_problem(m));
        for (int k = 0; k < NODE_MAX_OUTPUTS; k++) {
            if (n->output[k] == NULL) continue;
            const size_t count = (size_t)shape_count(&n->output[k]->shape);
            double *got = mem_calloc(count, sizeof *got);
            assert_non_null(got);
            machine_read(m, n->output[k], got);
            for (size_t i = 0; run > 0 && i < count; i++)
                if (got[i] != first[k][i])
                    fail_msg("%s in %s: %s %d gives %.9g, then %.9g", t->c->name, dtype_name(graph_dtype(t->g)),
                             op_name(n->op), n->id, first[k][i], got[i]);
            if (run == 0)
                first[k] = got;
            else
                mem_free(got);
        }
    }
    for (int k = 0; k < NODE_MAX_OUTPUTS; k++) mem_free(first[k]);
}

static void other_backends_repeat(void **state)
{
    static const dtype types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    const backend *b;
    for (size_t i = 0; (b = other_backend(&i)) != NULL;) {
        for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
            if (!b->supports(types[k])) continue;
            trial *t = trial_create(*state, types[k], types[k]);
            machine *m = machine_create(t, b);
            for (size_t n = 0; n < graph_node_count(t->g); n++) repeat_node(m, t, graph_node_at(t->g, n));
            machine_destroy(m);
            trial_destroy(t);
        }
    }
}

/* ---- convolutions in the way that is taken where oneDNN has none ---- */

static const kernel *gathering(op_code op, dtype compute)
{
    if (op == OP_CONV2D) return &cpu_conv2d_gathered;
    if (op == OP_CONV2D_DX) return &cpu_conv2d_dx_gathered;
    return backend_cpu.kernel_for(op, compute);
}

static const backend gathering_backend = {.name = "cpu, gathering", .memory = &host_memory, .kernel_for = gathering};

static void gathering_agrees_f32(void **state)
{
    operators_agree(*state, &gathering_backend, DTYPE_F32);
}

static void gathering_agrees_bf16(void **state)
{
    operators_agree(*state, &gathering_backend, DTYPE_BF16);
}

/* ---- whole graphs in sessions ---- */

static void compare_session(session *s, machine *ref, const trial *t, const tensor *ref_result, const tensor *result,
                            const char *what)
{
    size_t count = (size_t)shape_count(&result->shape);
    double *expected = mem_calloc(count, sizeof *expected), *got = mem_calloc(count, sizeof *got);
    assert_true(expected != NULL && got != NULL);
    machine_read(ref, ref_result, expected);
    dtype_convert(got, DTYPE_F64, session_data(s, result), result->type, count);
    dtype type = graph_dtype(t->g);
    compare(t, what, expected, got, count, type == DTYPE_BF16 ? bf16_graph_tolerance : f32_graph_tolerance,
            dtype_name(type));
    mem_free(expected);
    mem_free(got);
}

static void sessions_agree_in(const op_case *c, dtype type)
{
    if (!backend_cpu.supports(type)) return;
    trial *ref_trial = trial_create(c, DTYPE_F32, type), *t = trial_create(c, type, type);
    trial_mark_results(t);
    machine *ref = machine_create(ref_trial, &backend_ref);
    if (!machine_run(ref, (int)graph_node_count(ref_trial->g) - 1, false)) fail_msg("%s", machine_problem(ref));
    leco_error err;
    workspace *w = workspace_create(&host_memory);
    session *s;
    assert_non_null(w);
    if (session_open(t->g, &backend_cpu, w, &s, &err) != LECO_OK) fail_msg("%s: %s", c->name, err.message);
    for (int run = 0; run < 2; run++) { /* a second run finds the first one's leavings */
        trial_load(t, s);
        assert_int_equal(session_run(s, NULL), LECO_OK);
        compare_session(s, ref, t, ref_trial->y, t->y, "y of a session");
        for (int i = 0; i < t->leaf_count; i++) {
            const leaf *l = &t->leaves[i];
            if (l->grad != NULL) compare_session(s, ref, t, ref_trial->leaves[i].grad, l->grad, l->name);
        }
    }
    session_destroy(s);
    workspace_destroy(w);
    machine_destroy(ref);
    trial_destroy(ref_trial);
    trial_destroy(t);
}

static void sessions_agree(void **state)
{
    sessions_agree_in(*state, DTYPE_F32);
    sessions_agree_in(*state, DTYPE_BF16);
}

/* ---- timing ---- */

/* The best of enough runs of one node to fill a fifth of a second, at least three. */
static double seconds_of(machine *m, int id)
{
    double best = INFINITY, total = 0;
    for (int run = 0; run < 3 || (total < 0.2 && run < 10000); run++) {
        double start = cpu_seconds();
        machine_run_bare(m, id);
        double taken = cpu_seconds() - start;
        total += taken;
        best = fmin(best, taken);
    }
    return best;
}

static void time_case(const op_case *c, dtype type)
{
    if (!backend_cpu.supports(type)) return;
    trial *t = trial_create(c, type, type);
    machine *m = machine_create(t, &backend_cpu);
    int nodes = (int)graph_node_count(t->g);
    for (int i = 0; i < nodes; i++) machine_run_bare(m, i); /* operands for all of them, and warm */
    for (int i = 0; i < nodes; i++) {
        const node *n = graph_node_at(t->g, (size_t)i);
        double seconds = seconds_of(m, i), flops = node_flops(n);
        printf("%-40s %-9s %-20s %10.3f", c->name, dtype_name(type), op_name(n->op), seconds * 1e3);
        if (flops > 0) printf(" %10.1f", flops / seconds * 1e-9);
        printf("\n");
    }
    machine_destroy(m);
    trial_destroy(t);
}

static int bench(const char *text)
{
    printf("%s, %d threads\n", cpu_level_name(cpu_detect()), cpu_threads());
    printf("%-40s %-9s %-20s %10s %10s\n", "case", "dtype", "operator", "ms", "GFLOP/s");
    for (size_t i = 0; i < op_case_count; i++) {
        const op_case *c = &op_cases[i];
        if (text == NULL ? !(c->flags & BENCH) : strstr(c->name, text) == NULL) continue;
        time_case(c, DTYPE_F32);
        time_case(c, DTYPE_BF16);
    }
    return 0;
}

static void add_test_of(struct CMUnitTest *tests, size_t *count, const op_case *c, const char *suffix,
                        void (*run)(void **state))
{
    tests[(*count)++] = (struct CMUnitTest){
        .name = mem_printf("%s%s", c->name, suffix), .test_func = run, .initial_state = (void *)(uintptr_t)c};
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) return bench(argc > 2 ? argv[2] : NULL);
    /* The large cases take an emulated device minutes. */
    const unsigned repeated = getenv("LECO_TEST_LARGE") ? LARGE | BENCH : LOSS;
    const bool has_others = other_backend(&(size_t){0}) != NULL;
    struct CMUnitTest *tests = mem_calloc(7 * op_case_count, sizeof *tests);
    if (tests == NULL) return 1;
    size_t count = 0;
    for (size_t i = 0; i < op_case_count; i++) {
        const op_case *c = &op_cases[i];
        if (has_others && (c->flags & repeated)) add_test_of(tests, &count, c, ", repeated", other_backends_repeat);
        if (c->flags & BENCH) continue;
        if (has_others) add_test_of(tests, &count, c, ", other backends", other_backends_agree);
        if (!test_on("cpu")) continue;
        add_test_of(tests, &count, c, ", f32", operators_agree_f32);
        add_test_of(tests, &count, c, ", bf16", operators_agree_bf16);
        add_test_of(tests, &count, c, ", session", sessions_agree);
        if (strncmp(c->name, "conv ", 5) != 0) continue;
        add_test_of(tests, &count, c, ", gathered, f32", gathering_agrees_f32);
        add_test_of(tests, &count, c, ", gathered, bf16", gathering_agrees_bf16);
    }
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    int failed = _cmocka_run_group_tests("cpu_ops", tests, count, NULL, NULL);
    for (size_t i = 0; i < count; i++) mem_free((void *)(uintptr_t)tests[i].name);
    mem_free(tests);
    return failed;
}
