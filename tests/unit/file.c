#include "test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

static leco_error err;

static void maps_a_file(void **state)
{
    (void)state;
    const char *path = test_path("map");
    test_write(path, "0123456789", 10);
    file_map map;
    assert_works(file_map_open(path, &map, &err), &err);
    assert_int_equal(map.size, 10);
    assert_memory_equal(map.data, "0123456789", 10);
    file_map_close(&map);
    assert_null(map.data);
    file_map_close(&map);

    test_write(path, "", 0);
    assert_works(file_map_open(path, &map, &err), &err);
    assert_null(map.data);
    assert_int_equal(map.size, 0);
    file_map_close(&map);
}

static void refuses_to_map_what_is_no_file(void **state)
{
    (void)state;
    file_map map;
    assert_fails(file_map_open(test_path("absent"), &map, &err), LECO_IO, &err, test_path("absent"), "cannot open",
                 "No such file");
    assert_fails(file_map_open(test_folder(), &map, &err), LECO_IO, &err, test_folder(), "is a folder");
    assert_fails(file_map_open("/dev/null", &map, &err), LECO_IO, &err, "/dev/null", "special");
    assert_int_equal(mkfifo(test_path("fifo"), 0600), 0); /* must not wait for a writer */
    assert_fails(file_map_open(test_path("fifo"), &map, &err), LECO_IO, &err, "special");
    unlink(test_path("fifo"));
}

static void reads_text(void **state)
{
    (void)state;
    const char *path = test_path("text");
    static char large[20000];
    memset(large, 'x', sizeof large);
    const size_t sizes[] = {0, 1, 4095, 4096, 4097, sizeof large};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *text;
        size_t size = 99;
        test_write(path, large, sizes[i]);
        assert_works(file_read_text(path, sizeof large, &text, &size, &err), &err);
        assert_int_equal(size, sizes[i]);
        assert_int_equal(strlen(text), size);
        mem_free(text);
        assert_works(file_read_text(path, sizes[i], &text, NULL, &err), &err); /* the limit itself is allowed */
        mem_free(text);
    }
    char *text;
    assert_fails(file_read_text(path, sizeof large - 1, &text, NULL, &err), LECO_FORMAT, &err, path, "19999");
    assert_null(text);
    assert_fails(file_read_text(test_path("absent"), 10, &text, NULL, &err), LECO_IO, &err, "absent", "cannot open");
    assert_fails(file_read_text(test_folder(), 10, &text, NULL, &err), LECO_IO, &err, test_folder(), "cannot read");
}

static void write_all(const char *path, const char *text)
{
    file_writer *w;
    assert_works(file_writer_open(path, &w, &err), &err);
    assert_works(file_writer_write(w, text, strlen(text), &err), &err);
    assert_works(file_writer_commit(w, &err), &err);
}

static void assert_contents(const char *path, const char *expected)
{
    char *text = (char *)test_read(path, NULL);
    assert_string_equal(text, expected);
    free(text);
}

static void a_commit_replaces_the_file(void **state)
{
    (void)state;
    assert_int_equal(mkdir(test_path("w"), 0700), 0);
    const char *path = test_path("w/out");
    write_all(path, "first");
    assert_contents(path, "first");

    file_writer *w;
    assert_works(file_writer_open(path, &w, &err), &err);
    assert_works(file_writer_write(w, "sec", 3, &err), &err);
    assert_works(file_writer_write(w, "ond", 3, &err), &err);
    assert_contents(path, "first"); /* not before the commit */
    assert_int_equal(test_count_files(test_path("w")), 2);
    assert_works(file_writer_commit(w, &err), &err);
    assert_contents(path, "second");
    assert_int_equal(test_count_files(test_path("w")), 1);

    struct stat info;
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0666 & ~mask); /* not the 0600 of most temporary files */
}

static void an_abort_leaves_nothing_behind(void **state)
{
    (void)state;
    assert_int_equal(mkdir(test_path("a"), 0700), 0);
    const char *path = test_path("a/out");
    write_all(path, "old");
    file_writer *w, *other;
    assert_works(file_writer_open(path, &w, &err), &err);
    assert_works(file_writer_open(path, &other, &err), &err); /* two at once don't meet */
    assert_works(file_writer_write(w, "new", 3, &err), &err);
    file_writer_abort(w);
    file_writer_abort(other);
    file_writer_abort(NULL);
    assert_contents(path, "old");
    assert_int_equal(test_count_files(test_path("a")), 1);
}

static void refuses_to_replace_what_is_no_file(void **state)
{
    (void)state;
    file_writer *w;
    assert_fails(file_writer_open("/dev/null", &w, &err), LECO_IO, &err, "/dev/null", "special");
    assert_null(w);
    assert_fails(file_writer_open(test_folder(), &w, &err), LECO_IO, &err, test_folder(), "is a folder");
    assert_fails(file_writer_open(test_path("no/such/out"), &w, &err), LECO_IO, &err, "no/such/out", "cannot create",
                 "No such file");
    assert_fails(file_writer_open("", &w, &err), LECO_IO, &err, "No such file");
}

static void a_link_is_followed(void **state)
{
    (void)state;
    assert_int_equal(mkdir(test_path("disk"), 0700), 0);
    write_all(test_path("disk/real"), "old");
    assert_int_equal(symlink("disk/real", test_path("link")), 0);
    write_all(test_path("link"), "new");
    struct stat info;
    assert_int_equal(lstat(test_path("link"), &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_contents(test_path("disk/real"), "new");
    assert_int_equal(test_count_files(test_path("disk")), 1);
}

static void writes_beside_a_file_without_a_folder_part(void **state)
{
    (void)state;
    char before[4096];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(mkdir(test_path("cwd"), 0700), 0);
    assert_int_equal(chdir(test_path("cwd")), 0);
    write_all("plain", "text");
    assert_contents("plain", "text");
    assert_int_equal(test_count_files("."), 1);
    assert_int_equal(chdir(before), 0);
}

static void makes_folders(void **state)
{
    (void)state;
    assert_works(file_make_folders(test_path("p//q/r/"), &err), &err);
    assert_true(file_is_folder(test_path("p/q/r")));
    assert_works(file_make_folders(test_path("p/q/r"), &err), &err);
    assert_works(file_make_folders("/", &err), &err);
    test_write(test_path("p/file"), "x", 1);
    assert_fails(file_make_folders(test_path("p/file/sub"), &err), LECO_IO, &err, "p/file/sub", "Not a directory");
    assert_fails(file_make_folders(test_path("p/file"), &err), LECO_IO, &err, "p/file", "Not a directory");
    assert_true(file_exists(test_path("p/file")));
    assert_false(file_is_folder(test_path("p/file")));
    assert_false(file_exists(test_path("p/nothing")));
}

/* Resident pages of this process. */
static long resident(void)
{
    long all, here = 0;
    FILE *in = fopen("/proc/self/statm", "r");
    assert_non_null(in);
    assert_int_equal(fscanf(in, "%ld %ld", &all, &here), 2);
    fclose(in);
    return here;
}

static void what_is_mapped_can_be_forgotten(void **state)
{
    (void)state;
    enum { BYTES = 16 << 20 };
    const long pages = BYTES / sysconf(_SC_PAGESIZE);
    char *text = malloc(BYTES);
    assert_non_null(text);
    for (size_t i = 0; i < BYTES; i++) text[i] = (char)(i * 7 + i / 4096);
    const char *path = test_path("large");
    test_write(path, text, BYTES);
    file_map map;
    assert_works(file_map_open(path, &map, &err), &err);
    assert_memory_equal(map.data, text, BYTES);
    const long before = resident();
    file_forget(map.data + 100, BYTES - 200);
    assert_true(resident() < before - pages / 2);
    assert_memory_equal(map.data, text, BYTES); /* and read again */
    file_forget(text, BYTES);                   /* isn't mapped */
    assert_memory_equal(map.data, text, BYTES);
    file_map_close(&map);
    free(text);
}

static void joins_and_splits_paths(void **state)
{
    (void)state;
    static const char *const joins[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"},         {"", "b", "b"},
                                           {NULL, "b", "b"},  {"a", "/b", "/b"},          {"/", "b", "/b"},
                                           {"a", "", "a/"},   {"a/b", "../c", "a/b/../c"}};
    for (size_t i = 0; i < sizeof joins / sizeof *joins; i++) {
        char *found = file_join(joins[i][0], joins[i][1]);
        assert_string_equal(found, joins[i][2]);
        mem_free(found);
    }
    static const char *const folders[][2] = {{"a/b", "a"}, {"b", "."}, {"/b", "/"},    {"a/b/", "a"}, {"a//b", "a"},
                                             {"", "."},    {"/", "/"}, {"/a/b", "/a"}, {"a/", "."},   {"//", "/"}};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char *found = file_folder_of(folders[i][0]);
        assert_string_equal(found, folders[i][1]);
        mem_free(found);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_a_file),
        cmocka_unit_test(refuses_to_map_what_is_no_file),
        cmocka_unit_test(reads_text),
        cmocka_unit_test(a_commit_replaces_the_file),
        cmocka_unit_test(an_abort_leaves_nothing_behind),
        cmocka_unit_test(refuses_to_replace_what_is_no_file),
        cmocka_unit_test(a_link_is_followed),
        cmocka_unit_test(writes_beside_a_file_without_a_folder_part),
        cmocka_unit_test(makes_folders),
        cmocka_unit_test(what_is_mapped_can_be_forgotten),
        cmocka_unit_test(joins_and_splits_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
