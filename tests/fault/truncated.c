/* A mapped file that becomes shorter while it is read: the signal's handler can say which one. */
#include "test_support.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "leco/leco.h"

#define PAGES 16
static long page;

static void exit_by_name(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    const char *path = leco_mapped_file(info->si_addr);
    if (!path) _exit(3);
    size_t length = strlen(path);
    _exit(length >= 8 && strcmp(path + length - 8, "/shrinks") == 0 ? 42 : 4);
}

static void make(const char *path)
{
    static char bytes[PAGES * 65536];
    test_write(path, bytes, (size_t)(PAGES * page));
}

static void the_handler_learns_the_name(void **state)
{
    (void)state;
    char shrinks[512], stays[512];
    snprintf(shrinks, sizeof shrinks, "%s", test_path("shrinks"));
    snprintf(stays, sizeof stays, "%s", test_path("stays"));
    make(shrinks);
    make(stays);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct sigaction action = {.sa_sigaction = exit_by_name, .sa_flags = SA_SIGINFO};
        sigaction(SIGBUS, &action, NULL);
        file_map a, b;
        if (file_map_open(stays, &a, NULL) != LECO_OK || file_map_open(shrinks, &b, NULL) != LECO_OK) _exit(1);
        if (truncate(shrinks, page) != 0) _exit(2);
        int sum = a.data[(PAGES - 1) * page] + b.data[0];
        sum += *(const volatile unsigned char *)(b.data + (PAGES - 1) * page);
        _exit(sum);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
}

static void only_what_is_mapped_has_a_name(void **state)
{
    (void)state;
    file_map map[20], empty;
    char path[20][512];
    assert_null(leco_mapped_file(NULL));
    assert_null(leco_mapped_file(&page));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 20; i++) {
            char name[32];
            snprintf(name, sizeof name, "map-%d", (i + round) % 20);
            snprintf(path[i], sizeof path[i], "%s", test_path(name));
            test_write(path[i], "twelve bytes", 12);
            assert_int_equal(file_map_open(path[i], &map[i], NULL), LECO_OK);
        }
        for (int i = 0; i < 20; i++) {
            assert_string_equal(leco_mapped_file(map[i].data), path[i]);
            assert_string_equal(leco_mapped_file(map[i].data + 11), path[i]);
            assert_null(leco_mapped_file(map[i].data + 12));
        }
        for (int i = 0; i < 20; i += 2) {
            const unsigned char *was = map[i].data;
            file_map_close(&map[i]);
            assert_null(leco_mapped_file(was));
            assert_string_equal(leco_mapped_file(map[i + 1].data), path[i + 1]);
        }
        for (int i = 1; i < 20; i += 2) file_map_close(&map[i]);
    }
    test_write(path[0], "", 0);
    assert_int_equal(file_map_open(path[0], &empty, NULL), LECO_OK);
    assert_null(leco_mapped_file(empty.data));
    file_map_close(&empty);
}

int main(void)
{
    page = sysconf(_SC_PAGESIZE);
    assert_in_range(page, 1, 65536);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_handler_learns_the_name),
        cmocka_unit_test(only_what_is_mapped_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
