/* What killed writers leave behind: the next process that writes to the folder removes it, and nothing else. Each save
 * is a process of its own here, since one process looks at a folder once. */
#include "test_support.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

static const char *folder, *target;

static void wait_for(pid_t child, bool killed)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (killed)
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    else
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Half of a file; what is written to `ready` tells that it lies there. */
static pid_t start_writer(int ready[2])
{
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        file_writer *w;
        bool ok = file_writer_open(target, &w, NULL) == LECO_OK && file_writer_write(w, "half", 4, NULL) == LECO_OK;
        ssize_t told = write(ready[1], ok ? "y" : "n", 1);
        for (;;) pause();
        (void)told;
    }
    char answer;
    assert_int_equal(read(ready[0], &answer, 1), 1);
    assert_int_equal(answer, 'y');
    return child;
}

static void leave_orphan(void)
{
    int ready[2];
    pid_t child = start_writer(ready);
    assert_int_equal(kill(child, SIGKILL), 0);
    wait_for(child, true);
    close(ready[0]);
    close(ready[1]);
}

static void save(void)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        file_writer *w;
        bool ok = file_writer_open(target, &w, NULL) == LECO_OK && file_writer_write(w, "whole", 5, NULL) == LECO_OK &&
                  file_writer_commit(w, NULL) == LECO_OK;
        _exit(ok ? 0 : 1);
    }
    wait_for(child, false);
    char *text = (char *)test_read(target, NULL);
    assert_string_equal(text, "whole");
    free(text);
}

static void the_next_save_removes_orphans(void **state)
{
    (void)state;
    leave_orphan();
    leave_orphan(); /* which removes the one before, as any writer does */
    assert_int_equal(test_count_files(folder), 1);
    save();
    assert_int_equal(test_count_files(folder), 1);
    leave_orphan();
    assert_int_equal(test_count_files(folder), 2);
    save();
    assert_int_equal(test_count_files(folder), 1);
}

static void living_writers_keep_theirs(void **state)
{
    (void)state;
    int ready[2];
    save();
    pid_t living = start_writer(ready);
    leave_orphan();
    assert_int_equal(test_count_files(folder), 3);
    save();
    assert_int_equal(test_count_files(folder), 2);
    assert_int_equal(kill(living, SIGKILL), 0);
    wait_for(living, true);
    close(ready[0]);
    close(ready[1]);
    save();
    assert_int_equal(test_count_files(folder), 1);
}

static const char *in_folder(const char *name)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void age(const char *path, long days)
{
    struct timespec now, times[2];
    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec -= days * 24 * 60 * 60;
    times[0] = times[1] = now;
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void other_files_stay(void **state)
{
    (void)state;
    static const char *const others[] = {".leco-notes", "leco-1-0.tmp", ".leco.tmp", "x.leco-1-0.tmp"};
    const int count = (int)(sizeof others / sizeof *others);
    for (int i = 0; i < count; i++) test_write(in_folder(others[i]), "mine", 4);
    assert_int_equal(mkdir(in_folder(".leco-2-0.tmp"), 0700), 0);
    assert_int_equal(mkfifo(in_folder(".leco-3-0.tmp"), 0600), 0);
    assert_int_equal(symlink(target, in_folder(".leco-4-0.tmp")), 0);
    save();
    save();
    assert_int_equal(test_count_files(folder), 1 + count + 3);
    for (int i = 0; i < count; i++) assert_int_equal(unlink(in_folder(others[i])), 0);
    assert_int_equal(rmdir(in_folder(".leco-2-0.tmp")), 0);
    assert_int_equal(unlink(in_folder(".leco-3-0.tmp")), 0);
    assert_int_equal(unlink(in_folder(".leco-4-0.tmp")), 0);
}

/* On a network folder a lock of another host may not be seen. */
static void those_of_other_hosts_must_be_old(void **state)
{
    (void)state;
    test_write(in_folder(".leco-7-0@elsewhere.tmp"), "half", 4);
    save();
    assert_int_equal(test_count_files(folder), 2);
    age(in_folder(".leco-7-0@elsewhere.tmp"), 2);
    int fd = open(in_folder(".leco-7-0@elsewhere.tmp"), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    save(); /* old, but somebody writes to it */
    assert_int_equal(test_count_files(folder), 2);
    close(fd);
    save();
    assert_int_equal(test_count_files(folder), 1);
}

/* Many short-lived writers, some killed at no particular moment, while others write: every save that wasn't killed
 * succeeds, so none lost its temporary file to another's tidying. */
static void writers_do_not_disturb_each_other(void **state)
{
    (void)state;
    pid_t child[64];
    const int count = (int)(sizeof child / sizeof *child);
    for (int i = 0; i < count; i++) {
        child[i] = fork();
        assert_true(child[i] >= 0);
        if (child[i] == 0) {
            char path[1100];
            snprintf(path, sizeof path, "%s-%d", target, i % 8);
            for (int k = 0; k < (i % 2 ? 1000000 : 3); k++) {
                file_writer *w;
                if (file_writer_open(path, &w, NULL) != LECO_OK) _exit(1);
                if (file_writer_write(w, "whole", 5, NULL) != LECO_OK) _exit(2);
                if (file_writer_commit(w, NULL) != LECO_OK) _exit(3);
            }
            _exit(0);
        }
        if (i % 2) {
            usleep((useconds_t)(i * 37 % 3000));
            kill(child[i], SIGKILL);
        }
    }
    for (int i = 0; i < count; i++) wait_for(child[i], i % 2);
    save();
    assert_in_range(test_count_files(folder), 1, 9);
}

static int make_folder(void **state)
{
    (void)state;
    static char folder_path[512], target_path[600];
    snprintf(folder_path, sizeof folder_path, "%s", test_path("saves"));
    snprintf(target_path, sizeof target_path, "%s/lora.safetensors", folder_path);
    folder = folder_path;
    target = target_path;
    return mkdir(folder, 0700);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_save_removes_orphans),
        cmocka_unit_test(living_writers_keep_theirs),
        cmocka_unit_test(other_files_stay),
        cmocka_unit_test(those_of_other_hosts_must_be_old),
        cmocka_unit_test(writers_do_not_disturb_each_other),
    };
    return cmocka_run_group_tests(tests, make_folder, NULL);
}
