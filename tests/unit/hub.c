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
#include "model/model_place.h"

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

/* As huggingface_hub goes by them: the first that is set. */
static void the_cache_is_where_the_environment_says(void **state)
{
    (void)state;
    static const char *const all[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"};
    char cache[5][512];
    const char *home = getenv("HOME");
    char *kept = home ? mem_strdup(home) : NULL;
    make_cache("abc"); /* hub/... */
    assert_works(file_make_folders(test_path("xdg/huggingface"), &err), &err);
    assert_works(file_make_folders(test_path("home/.cache/huggingface"), &err), &err);
    snprintf(cache[0], sizeof cache[0], "%s", test_path("xdg/huggingface/hub"));
    assert_int_equal(symlink(test_path("hub"), cache[0]), 0);
    snprintf(cache[0], sizeof cache[0], "%s", test_path("home/.cache/huggingface/hub"));
    assert_int_equal(symlink(test_path("hub"), cache[0]), 0);
    snprintf(cache[0], sizeof cache[0], "%s", test_path("hub"));
    snprintf(cache[1], sizeof cache[1], "%s", test_path("hub/"));
    snprintf(cache[2], sizeof cache[2], "%s", test_path("."));
    snprintf(cache[3], sizeof cache[3], "%s", test_path("xdg"));
    snprintf(cache[4], sizeof cache[4], "%s", test_path("home"));
    for (size_t i = 0; i < 5; i++) {
        for (size_t k = 0; k < 5; k++) unsetenv(all[k]);
        for (size_t k = i; k < 5; k++) assert_int_equal(setenv(all[k], k == i ? cache[i] : "/nowhere", 1), 0);
        char *path;
        assert_works(hub_find("org/shapes-1.5", &path, &err), &err);
        assert_non_null(path);
        mem_free(path);
    }
    for (size_t k = 0; k < 5; k++) unsetenv(all[k]);
    char *path;
    assert_works(hub_find("org/shapes-1.5", &path, &err), &err);
    assert_null(path);
    assert_int_equal(setenv("HOME", cache[4], 1), 0);
    assert_int_equal(setenv("HF_HOME", "~/.cache/huggingface", 1), 0);
    assert_works(hub_find("org/shapes-1.5", &path, &err), &err);
    assert_non_null(path);
    mem_free(path);
    assert_int_equal(setenv("HF_HOME", "~user/.cache/huggingface", 1), 0); /* another's home is nobody's */
    assert_works(hub_find("org/shapes-1.5", &path, &err), &err);
    assert_null(path);
    unsetenv("HF_HOME");
    if (kept) setenv("HOME", kept, 1);
    mem_free(kept);
}

/* "org/name/file": of that repository, and never outside of it. */
static void files_of_repositories_are_found(void **state)
{
    (void)state;
    static const struct {
        const char *name, *end;
    } cases[] = {{"org/shapes-1.5/model_index.json", "/abc/model_index.json"},
                 {"org/shapes-1.5/unet/config.json", "/abc/unet/config.json"},
                 {"org/shapes-1.5/unet", "/abc/unet"},
                 {"org/shapes-1.5/", NULL},
                 {"org/shapes-1.5/other", NULL},
                 {"org/shapes-1.5/../sd1-like/model_index.json", NULL},
                 {"org/shapes-1.5/unet/../model_index.json", NULL}};
    make_cache("abc");
    assert_int_equal(setenv("HF_HUB_CACHE", test_path("hub"), 1), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path;
        assert_works(hub_find(cases[i].name, &path, &err), &err);
        if (!cases[i].end) {
            assert_null(path);
            continue;
        }
        assert_non_null(path);
        assert_non_null(strstr(path, cases[i].end));
        mem_free(path);
    }
    unsetenv("HF_HUB_CACHE");
}

static void put_file(const char *name, const char *header)
{
    unsigned char all[512] = {0};
    const uint64_t length = strlen(header);
    memcpy(all, &length, 8);
    memcpy(all + 8, header, length);
    test_write(test_path(name), all, 8 + length + 4);
}

/* A folder without model_index.json, of which one file is a checkpoint. */
static void the_only_checkpoint_of_a_folder_is_taken(void **state)
{
    (void)state;
    static const char checkpoint[] =
        "{\"model.diffusion_model.input_blocks.0.0.weight\":{\"dtype\":\"F32\",\"shape\":[1],"
        "\"data_offsets\":[0,4]}}",
                      lora[] = "{\"lora_unet_x.lora_up.weight\":{\"dtype\":\"F32\",\"shape\":[1],"
                               "\"data_offsets\":[0,4]}}";
    char folder[512], *path;
    snprintf(folder, sizeof folder, "%s", test_path("repository"));
    assert_works(file_make_folders(folder, &err), &err);
    put_file("repository/lora.safetensors", lora);
    assert_works(model_find(folder, &path, &err), &err);
    assert_string_equal(path, folder);
    mem_free(path);
    put_file("repository/b.ckpt", checkpoint);
    assert_works(model_find(folder, &path, &err), &err);
    assert_non_null(strstr(path, "/b.ckpt"));
    mem_free(path);
    put_file("repository/b.safetensors", checkpoint); /* mostly the same weights: this form is the better one */
    assert_works(model_find(folder, &path, &err), &err);
    assert_non_null(strstr(path, "/b.safetensors"));
    mem_free(path);
    put_file("repository/c.safetensors", checkpoint);
    put_file("repository/a.safetensors", checkpoint);
    assert_fails(model_find(folder, &path, &err), LECO_INVALID, &err, folder, "3 checkpoints",
                 "a.safetensors and b.safetensors among them");
    test_write(test_path("repository/model_index.json"), "{}", 2);
    assert_works(model_find(folder, &path, &err), &err);
    assert_string_equal(path, folder);
    mem_free(path);
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_found), cmocka_unit_test(the_cache_is_where_the_environment_says),
        cmocka_unit_test(files_of_repositories_are_found), cmocka_unit_test(the_only_checkpoint_of_a_folder_is_taken),
        cmocka_unit_test(models_are_opened_by_name)};
    return cmocka_run_group_tests_name("unit/hub", tests, NULL, NULL);
}
