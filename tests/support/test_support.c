#define _XOPEN_SOURCE 700 /* nftw */
#include "test_support.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[256];
static pid_t owner; /* a forked child must not remove its parent's folder */

static _Noreturn void stop(const char *what, const char *path)
{
    perror(path);
    fprintf(stderr, "test_support: %s failed\n", what);
    abort();
}

static int remove_entry(const char *path, const struct stat *info, int flag, struct FTW *position)
{
    (void)info;
    (void)flag;
    (void)position;
    return remove(path);
}

static void remove_folder(void)
{
    if (getpid() == owner) nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *test_folder(void)
{
    if (!folder[0]) {
        const char *base = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/leco-test-XXXXXX", base && *base ? base : "/tmp");
        if (!mkdtemp(folder)) stop("mkdtemp", folder);
        owner = getpid();
        atexit(remove_folder);
    }
    return folder;
}

const char *test_path(const char *name)
{
    static char paths[16][512];
    static unsigned next;
    char *path = paths[next++ % 16];
    snprintf(path, sizeof paths[0], "%s/%s", test_folder(), name);
    return path;
}

void test_write(const char *path, const void *data, size_t size)
{
    remove(path); /* some file systems flush a file that is emptied and written again: thousands of them take minutes */
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0) stop("writing", path);
}

unsigned char *test_read(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) stop("opening", path);
    size_t length = (size_t)ftell(file);
    rewind(file);
    unsigned char *data = calloc(length + 1, 1);
    if (!data || fread(data, 1, length, file) != length) stop("reading", path);
    fclose(file);
    if (size) *size = length;
    return data;
}

int test_count_files(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir) stop("opendir", path);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir));)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(dir);
    return count;
}

void test_remove_files(const char *name)
{
    char path[1200];
    const char *whole = test_path(name);
    DIR *dir = opendir(whole);
    if (!dir) stop("opendir", whole);
    for (struct dirent *entry; (entry = readdir(dir));) {
        snprintf(path, sizeof path, "%s/%s", whole, entry->d_name);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && remove(path) != 0)
            stop("removing", path);
    }
    closedir(dir);
    if (remove(whole) != 0) stop("removing", whole);
}

void test_check_failure(leco_status status, leco_status expected, const leco_error *error, const char *file, int line,
                        const char *const *parts)
{
    if (status != expected) {
        print_error("status is %s, expected %s; message: \"%s\"\n", leco_status_name(status),
                    leco_status_name(expected), error->message);
        _fail(file, line);
    }
    if (error->status != status || !error->message[0]) {
        print_error("the error record was not filled\n");
        _fail(file, line);
    }
    for (; *parts; parts++) {
        if (strstr(error->message, *parts)) continue;
        print_error("\"%s\" is not in the message \"%s\"\n", *parts, error->message);
        _fail(file, line);
    }
}

void test_check_success(leco_status status, const leco_error *error, const char *file, int line)
{
    if (status == LECO_OK) return;
    print_error("failed: %s: \"%s\"\n", leco_status_name(status), error->message);
    _fail(file, line);
}

bool test_on(const char *device)
{
    const char *only = getenv("LECO_TEST_DEVICE");
    return !only || strcmp(only, device) == 0;
}
