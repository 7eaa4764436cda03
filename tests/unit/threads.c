/* base/cpu's number of threads against what OpenMP really gives. OpenMP reads its environment when a program starts, so
 * most of this runs in children: this program again, with a task's name and other variables. */
#include "test_support.h"

#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cores.h"
#include "base/cpu.h"
#include "base/log.h"

/* ---- tasks of a child: its exit status is the answer ---- */

enum { CANNOT_TEST = 102 };

/* The size of the teams that 200 loops of this thread get, or 100 where it isn't always what cpu_threads says. */
static int team(void)
{
    int expected = cpu_threads(), wrong = 0;
    for (int i = 0; i < 200; i++) {
        int size = 0;
#pragma omp parallel num_threads(cpu_threads())
#pragma omp master
        size = omp_get_num_threads();
        if (size != expected) wrong++;
    }
    cpu_fix_threads(expected);
    if (omp_get_max_threads() != expected || omp_get_dynamic()) wrong++;
    return wrong ? 100 : expected;
}

static int team_by_default(void)
{
    return team();
}

static int team_of_four(void)
{
    cpu_set_threads(4);
    return team();
}

static int team_of_too_many(void)
{
    cpu_set_threads(2000000000);
    return team();
}

/* Somebody else's settings come and go between two loops of ours. */
static int team_after_others(void)
{
    cpu_set_threads(4);
    cpu_threads();
    omp_set_dynamic(1);
    omp_set_num_threads(9);
    return team();
}

static int team_in_a_region(void)
{
    cpu_set_threads(4);
    int sizes[2] = {0, 0};
#pragma omp parallel num_threads(2)
    sizes[omp_get_thread_num()] = team();
    return team() == 4 && sizes[0] == sizes[1] ? sizes[0] : 100;
}

static void *run_team(void *size)
{
    *(int *)size = team();
    return NULL;
}

static int team_of_another_thread(void)
{
    int size = 0;
    pthread_t thread;
    cpu_set_threads(4);
    if (pthread_create(&thread, NULL, run_team, &size) != 0) return 101;
    pthread_join(thread, NULL);
    return size;
}

static void count_warning(void *user, log_level level, const char *message)
{
    if (level == LOG_WARNING && strstr(message, "of 4")) ++*(int *)user;
}

static int warnings(void)
{
    int count = 0;
    log_set_callback(count_warning, &count);
    cpu_set_threads(4);
    team();
    return count;
}

/* Where no more threads can be started, as with `ulimit -u`, which doesn't hold for root. */
static int team_where_none_can_start(void)
{
    const struct rlimit few = {1, 1};
    if (geteuid() == 0 && setuid(65534) != 0) return CANNOT_TEST;
    if (setrlimit(RLIMIT_NPROC, &few) != 0) return CANNOT_TEST;
    return team_of_four();
}

static const struct task {
    const char *name;
    int (*run)(void);
} tasks[] = {
    {"default", team_by_default},   {"four", team_of_four},
    {"too many", team_of_too_many}, {"others", team_after_others},
    {"region", team_in_a_region},   {"other", team_of_another_thread},
    {"warnings", warnings},         {"none", team_where_none_can_start},
};

/* ---- the parent ---- */

/* What task `name` answers in an environment with these settings ("A=1 B=2", or ""). */
static int answer(const char *name, const char *settings)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        static const char *const cleared[] = {"OMP_NUM_THREADS", "OMP_THREAD_LIMIT",      "OMP_DYNAMIC", "OMP_NESTED",
                                              "OMP_PROC_BIND",   "OMP_MAX_ACTIVE_LEVELS", "OMP_PLACES"};
        for (size_t i = 0; i < sizeof cleared / sizeof *cleared; i++) unsetenv(cleared[i]);
        char copy[200];
        snprintf(copy, sizeof copy, "%s", settings);
        for (char *s = strtok(copy, " "); s; s = strtok(NULL, " ")) {
            char *value = strchr(s, '=');
            *value++ = '\0';
            setenv(s, value, 1);
        }
        execl("/proc/self/exe", "threads", name, (char *)NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect(const char *name, const char *settings, int expected)
{
    int got = answer(name, settings);
    if (got != expected) fail_msg("%s with %s: %d, expected %d", name, settings, got, expected);
}

static void loops_get_what_is_promised(void **state)
{
    (void)state;
    expect("four", "", 4);
    expect("four", "OMP_THREAD_LIMIT=1", 1);
    expect("four", "OMP_THREAD_LIMIT=3", 3);
    expect("four", "OMP_DYNAMIC=true", 4);
    expect("four", "OMP_MAX_ACTIVE_LEVELS=0", 1);
    expect("four", "OMP_NUM_THREADS=2", 4);
    expect("four", "OMP_NESTED=true", 4);
    expect("four", "OMP_PROC_BIND=true", 4);
    expect("too many", "OMP_THREAD_LIMIT=2", 2);
    expect("others", "", 4);
    expect("others", "OMP_THREAD_LIMIT=2", 2);
}

static void a_parallel_region_is_one_thread_each(void **state)
{
    (void)state;
    expect("region", "", 1);
    expect("region", "OMP_NESTED=true", 1);
    expect("region", "OMP_MAX_ACTIVE_LEVELS=3 OMP_DYNAMIC=true", 1);
}

static void each_calling_thread_is_asked(void **state)
{
    (void)state;
    expect("other", "", 4);
    expect("other", "OMP_NUM_THREADS=1", 4);
    expect("other", "OMP_DYNAMIC=true", 4);
    expect("other", "OMP_THREAD_LIMIT=2", 2);
}

static void the_default_is_openmps_own_or_the_cores(void **state)
{
    (void)state;
    int cores = answer("default", "");
    assert_int_equal(cores, cores_available());
    expect("default", "OMP_NUM_THREADS=3", 3);
    expect("default", "OMP_NUM_THREADS=5,2", 5);
    expect("default", "OMP_NUM_THREADS=3 OMP_THREAD_LIMIT=2", 2);
    expect("default", "OMP_NUM_THREADS=0", cores);
    expect("default", "OMP_NUM_THREADS=many", cores);
    expect("default", "OMP_THREAD_LIMIT=1", 1);
    expect("default", "OMP_DYNAMIC=true", cores);
    expect("default", "OMP_PROC_BIND=true", cores);
    expect("default", "OMP_PLACES=threads", cores);
}

static void too_few_are_told_once(void **state)
{
    (void)state;
    expect("warnings", "", 0);
    expect("warnings", "OMP_THREAD_LIMIT=2", 1);
}

static void threads_that_cannot_start_are_done_without(void **state)
{
    (void)state;
    int got = answer("none", "");
    if (got == CANNOT_TEST) skip();
    assert_int_equal(got, 1);
}

static void less_than_one_is_the_default(void **state)
{
    (void)state;
    cpu_set_threads(1);
    assert_int_equal(cpu_threads(), 1);
    cpu_set_threads(-5);
    assert_int_equal(cpu_threads(), cores_available());
}

/* ---- quotas, in a tree like the kernel's ---- */

static void put(const char *name, const char *text)
{
    char folder[400];
    snprintf(folder, sizeof folder, "%s", test_path(name));
    for (char *at = strstr(folder, name); (at = strchr(at, '/')); *at++ = '/') {
        *at = '\0';
        mkdir(folder, 0700);
    }
    test_write(folder, text, strlen(text));
}

static int quota(const char *membership)
{
    put("cgroup", membership);
    return cores_in_quota(test_path("cgroup"), test_path("sys"));
}

static void quotas_are_read(void **state)
{
    (void)state;
    put("sys/cpu.max", "max 100000\n");
    put("sys/a/cpu.max", "300000 100000\n");
    put("sys/a/b/cpu.max", "max 100000\n");
    put("sys/a/b/small/cpu.max", "150000 100000\n");
    put("sys/a/odd/cpu.max", "lots of it\n");
    put("sys/a/tiny/cpu.max", "1000 100000\n");
    assert_int_equal(quota("0::/\n"), 0);
    assert_int_equal(quota("0::/a\n"), 3);
    assert_int_equal(quota("0::/a/b\n"), 3); /* a group's quota holds for those inside it */
    assert_int_equal(quota("0::/a/b/small\n"), 2);
    assert_int_equal(quota("0::/a/odd\n"), 3);
    assert_int_equal(quota("0::/a/tiny\n"), 1);
    assert_int_equal(quota("0::/a/gone/away\n"), 3); /* a container may be told its path on the host */
    assert_int_equal(quota(""), 0);
    assert_int_equal(quota("nonsense\n:\n::\n"), 0);
    put("sys/cpu/cpu.cfs_quota_us", "250000\n");
    put("sys/cpu/cpu.cfs_period_us", "50000\n");
    put("sys/cpu/docker/cpu.cfs_quota_us", "-1\n");
    put("sys/cpu/docker/cpu.cfs_period_us", "100000\n");
    assert_int_equal(quota("3:cpuset:/\n2:cpuacct,cpu:/docker\n"), 5);
    assert_int_equal(quota("3:cpuset,cpuacct:/docker\n"), 0);
    assert_int_equal(quota("4:cpu:/gone/away\n0::/a\n"), 3);
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < sizeof tasks / sizeof *tasks; i++)
        if (strcmp(argv[1], tasks[i].name) == 0) _exit(tasks[i].run()); /* a leak check would start a thread */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loops_get_what_is_promised),   cmocka_unit_test(a_parallel_region_is_one_thread_each),
        cmocka_unit_test(each_calling_thread_is_asked), cmocka_unit_test(the_default_is_openmps_own_or_the_cores),
        cmocka_unit_test(too_few_are_told_once),        cmocka_unit_test(threads_that_cannot_start_are_done_without),
        cmocka_unit_test(less_than_one_is_the_default), cmocka_unit_test(quotas_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
