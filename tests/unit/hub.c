/* Models in the cache of Hugging Face's programs. */
#include "model_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/hub.h"
#include "model/model.h"

static leco_error err;

#define CACHE "models--org--shapes-1.5"

/* A cache with one snapshot, a link to the fixture's folder. */
static void make_cache(const char *ref)
{
    char path[512];
    assert_works(file_make_folders(test_path("hub/" CACHE "/snapshots"), &err), &err);
    assert_works(file_make_folders(test_path("hub/" CACHE "/refs"), &err), &err);
    snprintf(path, sizeof path, "%s", test_path("hub/" CACHE "/snapshots/abc"));
    unlink(path);
    assert_int_equal(symlink(FIXTURE("sd1-like"), path), 0);
    unlink(test_path("hub/" CACHE "/refs/main"));
    if (ref) test_write(test_path("hub/" CACHE "/refs/main"), ref, strlen(ref));
}

static void names_are_found(void **state)
{
    (void)state;
    static const char *const refs[] = {"abc", "abc\n", NULL, "../../x", "gone"};
    for (size_t i = 0; i < sizeof refs / sizeof *refs; i++) {
        char *path;
        make_cache(refs[i]);
        assert_int_equal(setenv("HF_HUB_CACHE", test_path("hub"), 1), 0);
        assert_works(hub_find("org/shapes-1.5", &path, &err), &err);
        if (i < 4) {
            assert_non_null(path);
            assert_string_equal(strrchr(path, '/'), "/abc");
        } else {
            assert_null(path);
        }
        mem_free(path);
    }
    make_cache("abc");
    char *path;
    static const char *const others[] = {"org/other", "shapes", "org/shapes-1.5/x", "../org", "./org", "/org",
                                         "org/",      ""};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_works(hub_find(others[i], &path, &err), &err);
        assert_null(path);
    }
    assert_works(hub_find(test_path("hub/" CACHE), &path, &err), &err);
    assert_string_equal(strrchr(path, '/'), "/abc");
    mem_free(path);
    unsetenv("HF_HUB_CACHE");
    assert_int_equal(setenv("HF_HOME", test_path("."), 1), 0);
    assert_works(hub_find("org/shapes-1.5", &path, &err), &err);
    assert_non_null(path);
    mem_free(path);
    assert_int_equal(setenv("HF_HOME", "/nowhere", 1), 0);
    assert_works(hub_find("org/shapes-1.5", &path, &err), &err);
    assert_null(path);
    unsetenv("HF_HOME");
}

static void models_are_opened_by_name(void **state)
{
    (void)state;
    model *m;
    make_cache("abc");
    assert_int_equal(setenv("HF_HUB_CACHE", test_path("hub"), 1), 0);
    assert_works(model_open("org/shapes-1.5", &m, &err), &err);
    assert_works(model_map(m, MODEL_ALL, &err), &err);
    model_close(m);
    assert_works(model_open(test_path("hub/" CACHE), &m, &err), &err);
    model_close(m);
    assert_fails(model_open("org/other", &m, &err), LECO_IO, &err, "org/other", "there is no such file");
    unsetenv("HF_HUB_CACHE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_are_found), cmocka_unit_test(models_are_opened_by_name)};
    return cmocka_run_group_tests_name("unit/hub", tests, NULL, NULL);
}
