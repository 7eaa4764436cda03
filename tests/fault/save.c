/* A full disk, a failing disk and a kill in the middle of a save. Whatever happens, the file is the old one or the new
 * one, whole, and a failed save leaves nothing beside it.
 *
 * The disk's failures are made by this program's own write, fsync, close and rename, which the library's calls reach.
 */
#include "test_support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "format/safetensors.h"
#include "picture/png.h"
#include "train/state.h"

#define NEVER 1000000

static struct {
    long space;        /* bytes until the disk is full */
    int write_error;   /* what it says then */
    size_t most;       /* bytes that one write takes */
    int interruptions; /* writes to come that a signal interrupts */
    int fsync_error, close_error, rename_error;
    int syncs_until_kill, renames_until_kill; /* this process dies instead of the n-th */
} disk;

static const char *folder; /* that holds `target` alone */
static const char *target;
static leco_error err;

static int failing(int number)
{
    errno = number;
    return -1;
}

ssize_t write(int fd, const void *data, size_t size)
{
    if (disk.interruptions > 0) return disk.interruptions--, failing(EINTR);
    if (disk.space <= 0) return failing(disk.write_error);
    if (size > disk.most) size = disk.most;
    if (size > (size_t)disk.space) size = (size_t)disk.space;
    ssize_t written = syscall(SYS_write, fd, data, size);
    if (written > 0) disk.space -= written;
    return written;
}

int fsync(int fd)
{
    if (disk.syncs_until_kill-- == 0) raise(SIGKILL);
    return disk.fsync_error ? failing(disk.fsync_error) : (int)syscall(SYS_fsync, fd);
}

int close(int fd)
{
    int result = (int)syscall(SYS_close, fd);
    return disk.close_error ? failing(disk.close_error) : result;
}

int rename(const char *from, const char *to)
{
    if (disk.renames_until_kill-- == 0) raise(SIGKILL);
    return disk.rename_error ? failing(disk.rename_error) : renameat(AT_FDCWD, from, AT_FDCWD, to);
}

static void repair_disk(void)
{
    memset(&disk, 0, sizeof disk);
    disk.space = 1L << 40;
    disk.most = SIZE_MAX;
    disk.write_error = ENOSPC;
    disk.syncs_until_kill = disk.renames_until_kill = NEVER;
}

/* ---- saves ---- */

static leco_status save_tensors(void)
{
    static const float values[] = {1, 2, 3, 4, 5};
    static const safetensors_entry entry = {
        .name = "down", .type = DTYPE_F32, .rank = 1, .shape = {5}, .count = 5, .data = values};
    return safetensors_write(target, &entry, 1, NULL, 0, &err);
}

static leco_status save_state(void)
{
    static const float values[] = {1, 2, 3};
    static train_state s = {.threads = 1, .iterations = 9, .done = 3, .values = values, .value_count = 3};
    rng_seed(&s.rng, RNG_CPU, 3);
    s.drawn = s.rng;
    return state_write(&s, target, &err);
}

static leco_status save_image(void)
{
    static uint8_t rgb[5 * 5 * 3] = {1, 2, 3};
    const image img = {5, 5, rgb};
    return png_write(target, &img, "a red star", &err);
}

static void put_old(void)
{
    repair_disk();
    test_write(target, "old", 3);
}

static void assert_old_and_alone(void)
{
    repair_disk();
    char *text = (char *)test_read(target, NULL);
    assert_string_equal(text, "old");
    free(text);
    assert_int_equal(test_count_files(folder), 1);
}

static void assert_new_tensors(void)
{
    repair_disk();
    safetensors *file;
    assert_works(safetensors_open(target, &file, &err), &err);
    assert_int_equal(safetensors_find(file, "down")->count, 5);
    safetensors_close(file);
}

/* ---- failures of the disk ---- */

static void the_disk_fills_at_every_byte(void **state)
{
    (void)state;
    leco_status (*const saves[])(void) = {save_tensors, save_image, save_state};
    for (int i = 0; i < 3; i++) {
        size_t size;
        repair_disk();
        assert_works(saves[i](), &err);
        free(test_read(target, &size));
        assert_in_range(size, 50, 20000);
        for (size_t space = 0; space < size; space += 1 + size / 1000) {
            put_old();
            disk.space = (long)space;
            assert_fails(saves[i](), LECO_IO, &err, target, "cannot write", "No space left");
            assert_old_and_alone();
        }
        put_old();
        disk.space = (long)size;
        assert_works(saves[i](), &err);
        assert_int_equal(test_count_files(folder), 1);
    }
}

static void the_disk_fails_late(void **state)
{
    (void)state;
    put_old();
    disk.fsync_error = EIO;
    assert_fails(save_tensors(), LECO_IO, &err, target, "cannot flush", "Input/output");
    assert_old_and_alone();
    put_old();
    disk.close_error = EDQUOT; /* NFS tells of a full quota only here */
    assert_fails(save_tensors(), LECO_IO, &err, target, "cannot close", "quota");
    assert_old_and_alone();
    put_old();
    disk.rename_error = EACCES;
    assert_fails(save_tensors(), LECO_IO, &err, target, "cannot rename", "denied");
    assert_old_and_alone();
}

static void a_failed_write_cannot_be_committed(void **state)
{
    (void)state;
    put_old();
    file_writer *w;
    assert_works(file_writer_open(target, &w, &err), &err);
    assert_works(file_writer_write(w, "begin", 5, &err), &err);
    disk.space = 0;
    assert_fails(file_writer_write(w, "middle", 6, &err), LECO_IO, &err, "No space left");
    repair_disk();
    assert_works(file_writer_write(w, "end", 3, &err), &err);
    assert_fails(file_writer_commit(w, &err), LECO_IO, &err, target, "earlier write");
    assert_old_and_alone();
}

static void short_and_interrupted_writes_go_on(void **state)
{
    (void)state;
    put_old();
    disk.most = 7;
    disk.interruptions = 3;
    assert_works(save_tensors(), &err);
    assert_int_equal(disk.interruptions, 0);
    assert_new_tensors();
}

/* The same with a limit that the kernel enforces. */
static void the_kernel_refuses_a_large_file(void **state)
{
    (void)state;
    put_old();
    struct rlimit old, tight;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    tight = (struct rlimit){64, old.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    leco_status status = save_tensors();
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, handler);
    assert_fails(status, LECO_IO, &err, target, "File too large");
    assert_old_and_alone();
}

/* ---- kills ---- */

/* Runs a save in a child that is expected to be killed. */
static void save_and_die(leco_status (*save)(void))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        save();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static leco_status die_half_way(void)
{
    file_writer *w;
    LECO_TRY(file_writer_open(target, &w, &err));
    LECO_TRY(file_writer_write(w, "half of it", 10, &err));
    raise(SIGKILL);
    return LECO_OK;
}

/* What a killed save leaves is a hidden temporary file; it must not stand in the way of the next save. */
static void assert_old_with_litter(void)
{
    repair_disk();
    char *text = (char *)test_read(target, NULL);
    assert_string_equal(text, "old");
    free(text);
    assert_int_equal(test_count_files(folder), 2);
    assert_works(save_tensors(), &err);
    assert_new_tensors();
    char command[600];
    snprintf(command, sizeof command, "rm %s/.leco-*.tmp", folder);
    assert_int_equal(system(command), 0);
    assert_int_equal(test_count_files(folder), 1);
}

static void a_kill_before_the_rename_leaves_the_old_file(void **state)
{
    (void)state;
    put_old();
    save_and_die(die_half_way);
    assert_old_with_litter();
    put_old();
    disk.syncs_until_kill = 0; /* all is written, nothing flushed */
    save_and_die(save_tensors);
    assert_old_with_litter();
    put_old();
    disk.renames_until_kill = 0;
    save_and_die(save_tensors);
    assert_old_with_litter();
}

static void a_kill_after_the_rename_leaves_the_new_file(void **state)
{
    (void)state;
    put_old();
    disk.syncs_until_kill = 1; /* that of the folder */
    save_and_die(save_tensors);
    assert_new_tensors();
    assert_int_equal(test_count_files(folder), 1);
}

/* A process that saves all the time is killed at no particular moment. */
static void a_kill_at_any_time_leaves_a_whole_file(void **state)
{
    (void)state;
    put_old();
    assert_works(save_tensors(), &err);
    for (int round = 0; round < 20; round++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            for (;;) save_tensors();
        usleep((useconds_t)(500 + round * 300));
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        assert_new_tensors();
    }
}

static int make_folder(void **state)
{
    (void)state;
    static char folder_path[512], target_path[600];
    repair_disk();
    snprintf(folder_path, sizeof folder_path, "%s", test_path("models"));
    snprintf(target_path, sizeof target_path, "%s/lora.safetensors", folder_path);
    folder = folder_path;
    target = target_path;
    return mkdir(folder, 0700);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_disk_fills_at_every_byte),
        cmocka_unit_test(the_disk_fails_late),
        cmocka_unit_test(a_failed_write_cannot_be_committed),
        cmocka_unit_test(short_and_interrupted_writes_go_on),
        cmocka_unit_test(the_kernel_refuses_a_large_file),
        cmocka_unit_test(a_kill_before_the_rename_leaves_the_old_file),
        cmocka_unit_test(a_kill_after_the_rename_leaves_the_new_file),
        cmocka_unit_test(a_kill_at_any_time_leaves_a_whole_file),
    };
    return cmocka_run_group_tests(tests, make_folder, NULL);
}
