/* Whether a training is told that fewer threads would do better beside other programs. */
#include "test_support.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cores.h"
#include "base/cpu.h"
#include "train/crowd.h"

static void advice_is_what_others_leave(void **state)
{
    (void)state;
    assert_int_equal(crowd_advice(1, 10, 9), 0); /* there are no fewer */
    assert_int_equal(crowd_advice(2, 10, 0.5), 0);
    assert_int_equal(crowd_advice(2, 10, 4.9), 0); /* a little less than a quarter */
    assert_int_equal(crowd_advice(2, 10, 9), 1);
    assert_int_equal(crowd_advice(8, 10, 21), 5);
    assert_int_equal(crowd_advice(4, 10, 40), 1);
}

static void compute(double seconds)
{
    const double end = cpu_seconds() + seconds;
    while (cpu_seconds() < end) {
    }
}

/* As many others as there are processors, and two more: this thread has to wait. */
static void waiting_is_counted(void **state)
{
    (void)state;
    enum { MOST = 64 };
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    const int others = processors + 2 < MOST ? (int)processors + 2 : MOST;
    pid_t child[MOST];
    if (access("/proc/self/schedstat", R_OK) != 0 || processors + 2 > MOST) skip();
    for (int i = 0; i < others; i++) {
        child[i] = fork();
        assert_true(child[i] >= 0);
        if (child[i] > 0) continue;
        for (;;) compute(1);
    }
    const double before = cores_waited();
    compute(1);
    const double waited = cores_waited() - before;
    for (int i = 0; i < others; i++) {
        kill(child[i], SIGKILL);
        waitpid(child[i], NULL, 0);
    }
    assert_true(waited > 0.1 && waited < 1.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(advice_is_what_others_leave),
        cmocka_unit_test(waiting_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
