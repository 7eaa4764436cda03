/* Locks: one holder at a time, in a process or in several; what a killed one leaves doesn't stand in the way. */
#include "test_support.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/lock.h"

static leco_error err;

static const char *path(void)
{
    return test_path("a.lock");
}

static void one_holder_at_a_time(void **state)
{
    (void)state;
    lock *first, *second;
    long holder;
    assert_works(lock_take(path(), &first, &holder, &err), &err);
    assert_non_null(first);
    assert_works(lock_take(path(), &second, &holder, &err), &err);
    assert_null(second);
    assert_int_equal(holder, getpid());
    lock_give_back(first);
    assert_false(file_exists(path()));
    assert_works(lock_take(path(), &second, &holder, &err), &err);
    assert_non_null(second);
    lock_give_back(second);
    lock_give_back(NULL);
}

/* In another process, which tells when it has it and waits for its end. */
static pid_t hold_elsewhere(void)
{
    int ready[2];
    char told = 0;
    assert_int_equal(pipe(ready), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        lock *l;
        long holder;
        const bool has = lock_take(path(), &l, &holder, NULL) == LECO_OK && l;
        if (write(ready[1], has ? "y" : "n", 1) != 1) _exit(1);
        for (;;) pause();
    }
    assert_int_equal(read(ready[0], &told, 1), 1);
    assert_int_equal(told, 'y');
    close(ready[0]);
    close(ready[1]);
    return child;
}

static void it_dies_with_its_process(void **state)
{
    (void)state;
    lock *l;
    long holder;
    const pid_t child = hold_elsewhere();
    assert_works(lock_take(path(), &l, &holder, &err), &err);
    assert_null(l);
    assert_int_equal(holder, child);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_true(file_exists(path()));
    assert_works(lock_take(path(), &l, &holder, &err), &err);
    assert_non_null(l);
    lock_give_back(l);
    assert_false(file_exists(path()));
}

static void what_lies_there_is_no_obstacle(void **state)
{
    (void)state;
    lock *l, *second;
    long holder;
    test_write(path(), "not a number", 12); /* nor a lock */
    assert_int_equal(chmod(path(), 0444), 0);
    assert_works(lock_take(path(), &l, &holder, &err), &err);
    assert_non_null(l);
    if (geteuid() != 0) { /* who may write anything has signed it */
        assert_works(lock_take(path(), &second, &holder, &err), &err);
        assert_null(second);
        assert_int_equal(holder, 0);
    }
    lock_give_back(l);
    assert_fails(lock_take(test_path("nowhere/a.lock"), &l, &holder, &err), LECO_IO, &err, "nowhere/a.lock",
                 "cannot lock");
    assert_int_equal(symlink("elsewhere", path()), 0); /* nobody's file is made through a link */
    assert_fails(lock_take(path(), &l, &holder, &err), LECO_IO, &err, "a.lock", "cannot lock");
    assert_int_equal(remove(path()), 0);
    assert_false(file_exists(test_path("elsewhere")));
}

/* Taken and given back all the time by several threads: never by two at once, though the file comes and goes. */
static _Atomic int holders, taken, crowded;

static void *take_and_give_back(void *unused)
{
    for (int i = 0; i < 2000; i++) {
        lock *l;
        long holder;
        if (lock_take(path(), &l, &holder, NULL) != LECO_OK) return unused;
        if (!l) continue;
        if (atomic_fetch_add(&holders, 1) != 0) atomic_fetch_add(&crowded, 1);
        atomic_fetch_add(&taken, 1);
        atomic_fetch_sub(&holders, 1);
        lock_give_back(l);
    }
    return NULL;
}

static void never_two_at_once(void **state)
{
    (void)state;
    pthread_t thread[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&thread[i], NULL, take_and_give_back, thread), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;
        assert_int_equal(pthread_join(thread[i], &failed), 0);
        assert_null(failed);
    }
    assert_int_equal(crowded, 0);
    assert_true(taken > 4);
    assert_false(file_exists(path()));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_holder_at_a_time),
        cmocka_unit_test(it_dies_with_its_process),
        cmocka_unit_test(what_lies_there_is_no_obstacle),
        cmocka_unit_test(never_two_at_once),
    };
    return cmocka_run_group_tests_name("unit/lock", tests, NULL, NULL);
}
