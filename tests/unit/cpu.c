#include "test_support.h"

#include <omp.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cpu.h"

/* The level is detected once in a process, so each setting is tried in a child. */
static int level_with(const char *setting)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (setting)
            setenv("LECO_CPU", setting, 1);
        else
            unsetenv("LECO_CPU");
        _exit((int)cpu_detect());
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void the_environment_lowers_the_level(void **state)
{
    (void)state;
    int best = level_with(NULL);
    assert_in_range(best, CPU_BASELINE, CPU_AMX);
    for (int level = CPU_BASELINE; level < CPU_LEVELS; level++)
        assert_int_equal(level_with(cpu_level_name((cpu_level)level)), level < best ? level : best);
    assert_int_equal(level_with("sse9"), best);
    assert_int_equal(level_with(""), best);
}

static void levels_have_names(void **state)
{
    (void)state;
    assert_string_equal(cpu_level_name(CPU_BASELINE), "baseline");
    assert_string_equal(cpu_level_name(CPU_AVX512_BF16), "avx512_bf16");
    assert_string_equal(cpu_level_name(CPU_AMX), "amx");
    assert_int_equal(cpu_has_bf16(), cpu_detect() >= CPU_AVX512_BF16);
}

static void threads_reach_openmp(void **state)
{
    (void)state;
    int physical = cpu_threads();
    assert_in_range(physical, 1, sysconf(_SC_NPROCESSORS_ONLN));
    cpu_set_threads(3);
    assert_int_equal(cpu_threads(), 3);
    assert_int_equal(omp_get_max_threads(), 3);
    cpu_set_threads(0);
    assert_int_equal(cpu_threads(), physical);
}

static void the_clock_runs_forward(void **state)
{
    (void)state;
    double start = cpu_seconds();
    usleep(2000);
    double passed = cpu_seconds() - start;
    assert_true(passed >= 0.002 && passed < 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_lowers_the_level),
        cmocka_unit_test(levels_have_names),
        cmocka_unit_test(threads_reach_openmp),
        cmocka_unit_test(the_clock_runs_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
