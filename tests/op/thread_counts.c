/* Results do not depend on the number of threads, where docs/kernels.md promises so: every operator but those that
 * oneDNN computes. Each case's nodes run for one thread, then for other counts on the same inputs; outputs must have
 * equal bits. What oneDNN's products and convolutions do is printed, not judged: nobody promises anything there.
 *
 * And no kernel of ours starts a thread once there are as many as are wanted.
 *
 *     op_thread_counts              all cases
 *     op_thread_counts --all        and the bench cases
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "machine.h"

/* 9: more than there are heads, column blocks or key blocks in most cases. */
static const int counts[] = {1, 2, 3, 4, 9};
enum { COUNTS = sizeof counts / sizeof *counts };

static bool is_onednns(op_code op)
{
    return op == OP_LINEAR || op == OP_LINEAR_DX || op == OP_CONV2D || op == OP_CONV2D_DX;
}

/* Whether output k of node `id` has the same bits for all counts. Hands the first one's values on to all. */
static bool settle(machine *const m[], trial *const t[], size_t id, int k, int *differs)
{
    size_t size = (size_t)shape_count(&graph_node_at(t[0]->g, id)->output[k]->shape);
    double *first = mem_calloc(size, sizeof *first), *other = mem_calloc(size, sizeof *other);
    assert_true(first != NULL && other != NULL);
    machine_read(m[0], graph_node_at(t[0]->g, id)->output[k], first);
    bool same = true;
    for (int i = 1; i < COUNTS; i++) {
        const tensor *y = graph_node_at(t[i]->g, id)->output[k];
        machine_read(m[i], y, other);
        if (same && memcmp(first, other, size * sizeof *first) != 0) {
            same = false;
            *differs = counts[i];
        }
        machine_write(m[i], y, first);
    }
    mem_free(first);
    mem_free(other);
    return same;
}

static void compare_counts(const op_case *c, dtype type)
{
    if (!backend_cpu.supports(type)) return;
    trial *t[COUNTS];
    machine *m[COUNTS];
    for (int i = 0; i < COUNTS; i++) {
        cpu_set_threads(counts[i]);
        t[i] = trial_create(c, type, type);
        m[i] = machine_create(t[i], &backend_cpu);
    }
    for (size_t id = 0; id < graph_node_count(t[0]->g); id++) {
        for (int i = 0; i < COUNTS; i++) {
            cpu_set_threads(counts[i]);
            if (!machine_run_node(m[i], (int)id, false)) fail_msg("%s", machine_problem(m[i]));
        }
        const node *n = graph_node_at(t[0]->g, id);
        for (int k = 0, differs = 0; k < NODE_MAX_OUTPUTS; k++) {
            if (n->output[k] == NULL || settle(m, t, id, k, &differs)) continue;
            if (!is_onednns(n->op))
                fail_msg("%s in %s: %s, output %d: %d threads give other bits than one (LECO_TEST_SEED=%llu)", c->name,
                         dtype_name(type), op_name(n->op), k, differs, (unsigned long long)t[0]->seed);
            printf("%s in %s: oneDNN's %s gives other bits with %d threads than with one\n", c->name, dtype_name(type),
                   op_name(n->op), differs);
        }
    }
    for (int i = 0; i < COUNTS; i++) {
        machine_destroy(m[i]);
        trial_destroy(t[i]);
    }
}

static void counts_agree(void **state)
{
    compare_counts(*state, DTYPE_F32);
    compare_counts(*state, DTYPE_BF16);
}

/* The sum and the number of this process's thread ids. A thread that ended and was started again has another one. */
static void count_threads(long *sum, int *count)
{
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    *sum = *count = 0;
    for (struct dirent *e; (e = readdir(tasks)) != NULL;)
        if (e->d_name[0] != '.') {
            *sum += atol(e->d_name);
            ++*count;
        }
    closedir(tasks);
}

static void threads_stay(void **state)
{
    (void)state;
    cpu_set_threads(5);
    long before = 0, after;
    int threads = 0, count;
    for (size_t i = 0; i < op_case_count; i++) {
        if (op_cases[i].flags & BENCH) continue;
        trial *t = trial_create(&op_cases[i], DTYPE_F32, DTYPE_F32);
        machine *m = machine_create(t, &backend_cpu);
        cpu_threads();
        for (size_t id = 0; id < graph_node_count(t->g); id++) {
            if (is_onednns(graph_node_at(t->g, id)->op)) continue;
            if (!machine_run_node(m, (int)id, false)) fail_msg("%s", machine_problem(m));
            count_threads(&after, &count);
            if (threads >= 5 && after != before)
                fail_msg("%s: %s ended threads or started new ones", op_cases[i].name,
                         op_name(graph_node_at(t->g, id)->op));
            threads = count;
            before = after;
        }
        machine_destroy(m);
        trial_destroy(t);
    }
    assert_true(threads >= 5);
}

int main(int argc, char **argv)
{
    bool all = argc > 1 && strcmp(argv[1], "--all") == 0;
    struct CMUnitTest *tests = mem_calloc(op_case_count + 1, sizeof *tests);
    if (tests == NULL) return 1;
    size_t count = 0;
    tests[count++] = (struct CMUnitTest)cmocka_unit_test(threads_stay);
    for (size_t i = 0; i < op_case_count; i++) {
        const op_case *c = &op_cases[i];
        if ((c->flags & BENCH) && !all) continue;
        tests[count++] =
            (struct CMUnitTest){.name = c->name, .test_func = counts_agree, .initial_state = (void *)(uintptr_t)c};
    }
    int failed = _cmocka_run_group_tests("thread_counts", tests, count, NULL, NULL);
    mem_free(tests);
    return failed;
}
