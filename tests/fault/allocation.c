/* Every allocation of every fallible function fails once: the call must say so, leak nothing (the address sanitizer
 * watches), and leave files as they were.
 *
 * jansson's own allocations are not made to fail: it drops characters and crashes then (2.14; its issue 362). */
#include "test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/mem.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "picture/jpeg.h"
#include "picture/png.h"
#include "picture/resample.h"
#include "test_jpeg.h"

typedef leco_status action(leco_error *err);

static leco_status memory_unless(const void *block, leco_error *err)
{
    return block ? LECO_OK : error_memory(err, 1, "a test");
}

/* Runs `act` with its first, second, ... allocation failing until it has no more, and expects more than `least`. A
 * failure must be LECO_MEMORY. */
static void exhaust(action *act, uint64_t least)
{
    char folder[512];
    snprintf(folder, sizeof folder, "%s", test_path("w"));
    for (uint64_t nth = 1;; nth++) {
        leco_error err = {0};
        int files = test_count_files(folder);
        uint64_t before = mem_allocations();
        mem_fail_at(nth);
        leco_status status = act(&err);
        mem_fail_at(0);
        if (mem_allocations() - before < nth) {
            assert_works(status, &err);
            assert_true(nth > least);
            return;
        }
        if (status != LECO_MEMORY) fail_msg("allocation %d: status %d, \"%s\"", (int)nth, (int)status, err.message);
        assert_int_equal(err.status, LECO_MEMORY);
        assert_non_null(strstr(err.message, "out of memory"));
        assert_int_equal(test_count_files(folder), files);
    }
}

#define EXHAUST(act, least)                                                                                            \
    static void act##_fails_cleanly(void **state)                                                                      \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        exhaust(act, least);                                                                                           \
    }

static leco_status use_strings(leco_error *err)
{
    char *texts[6] = {mem_strdup("a"),     mem_strndup("abc", 2), mem_printf("%d", 7),
                      file_join("a", "b"), file_folder_of("a/b"), mem_realloc(NULL, 3, 1)};
    leco_status status = LECO_OK;
    for (int i = 0; i < 6; i++) {
        if (!texts[i]) status = memory_unless(NULL, err);
        mem_free(texts[i]);
    }
    return status;
}
EXHAUST(use_strings, 6)

static leco_status use_arena(leco_error *err)
{
    arena *a = arena_create();
    leco_status status = memory_unless(a, err);
    if (status == LECO_OK) status = memory_unless(arena_strdup(a, "text"), err);
    if (status == LECO_OK) status = memory_unless(arena_alloc(a, 1 << 18, 1), err);
    if (status == LECO_OK) status = memory_unless(arena_printf(a, "%0200000d", 1), err);
    arena_destroy(a);
    return status;
}
EXHAUST(use_arena, 4)

static leco_status read_text(leco_error *err)
{
    char *text;
    LECO_TRY(file_read_text(test_path("text"), 1 << 20, &text, NULL, err));
    mem_free(text);
    return LECO_OK;
}
EXHAUST(read_text, 3)

static leco_status make_folders(leco_error *err)
{
    return file_make_folders(test_path("f/g"), err);
}
EXHAUST(make_folders, 1)

/* Writes to a file that exists; whatever happens it is never anything but whole. */
static leco_status replace_file(leco_error *err)
{
    file_writer *w;
    LECO_TRY(file_writer_open(test_path("w/file"), &w, err));
    LECO_TRY(file_writer_write(w, "whole", 5, err));
    return file_writer_commit(w, err);
}
EXHAUST(replace_file, 5)

static leco_status write_safetensors(leco_error *err)
{
    static const float values[4] = {1, 2, 3, 4};
    static const safetensors_entry entries[] = {
        {.name = "down.weight", .type = DTYPE_F32, .rank = 2, .shape = {2, 2}, .count = 4, .data = values},
        {.name = "alpha", .type = DTYPE_F32, .rank = 0, .count = 1, .data = values}};
    static const char *const metadata[][2] = {{"ss_network_dim", "4"}};
    return safetensors_write(test_path("w/new.safetensors"), entries, 2, metadata, 1, err);
}
EXHAUST(write_safetensors, 7)

static leco_status read_safetensors(leco_error *err)
{
    safetensors *file;
    leco_status status = safetensors_open(test_path("good.safetensors"), &file, err);
    assert_true((status == LECO_OK) == (file != NULL));
    if (status != LECO_OK) return status;
    const safetensors_entry *entry;
    status = safetensors_require(file, "down.weight", 2, (const int64_t[]){2, 2}, &entry, err);
    safetensors_close(file);
    return status;
}
EXHAUST(read_safetensors, 4)

static leco_status read_json(leco_error *err)
{
    json_t *root;
    leco_status status = json_read_file(test_path("good.json"), &root, err);
    assert_true((status == LECO_OK) == (root != NULL));
    if (status != LECO_OK) return status;
    int64_t value;
    status = json_get_int(root, "good.json", "sample_size", 0, 1, 100, &value, err);
    json_decref(root);
    return status;
}
EXHAUST(read_json, 1)

static leco_status make_image(leco_error *err)
{
    image img;
    LECO_TRY(image_create(3, 3, &img, err));
    image_free(&img);
    return LECO_OK;
}
EXHAUST(make_image, 1)

static leco_status write_png(leco_error *err)
{
    static uint8_t rgb[4 * 4 * 3] = {1, 2, 3};
    const image img = {4, 4, rgb};
    return png_write(test_path("w/new.png"), &img, "a caf\xc3\xa9", err);
}
EXHAUST(write_png, 8)

static leco_status read_png(leco_error *err)
{
    image img;
    char *text;
    leco_status status = png_read(test_path("good.png"), &img, &text, err);
    assert_true((status == LECO_OK) == (img.rgb != NULL));
    assert_true((status == LECO_OK) == (text != NULL));
    image_free(&img);
    mem_free(text);
    return status;
}
EXHAUST(read_png, 6)

static leco_status read_jpeg(leco_error *err)
{
    image img;
    leco_status status = jpeg_read(test_path("good.jpg"), &img, err);
    assert_true((status == LECO_OK) == (img.rgb != NULL));
    image_free(&img);
    return status;
}
EXHAUST(read_jpeg, 3)

static leco_status fit_image(leco_error *err)
{
    static uint8_t rgb[4 * 4 * 3] = {1, 2, 3};
    const image img = {4, 4, rgb};
    image fitted;
    leco_status status = image_fit(&img, 3, 5, &fitted, err);
    assert_true((status == LECO_OK) == (fitted.rgb != NULL));
    image_free(&fitted);
    return status;
}
EXHAUST(fit_image, 9)

static int make_files(void **state)
{
    (void)state;
    leco_error err = {0};
    static char text[10000];
    memset(text, 'x', sizeof text);
    test_write(test_path("text"), text, sizeof text);
    static const char json[] = "{\"sample_size\": 64, \"blocks\": [\"a\", {\"b\": 1.5}], \"\\u00e9\": null}";
    test_write(test_path("good.json"), json, sizeof json - 1);
    static const uint8_t inks[8 * 8 * 4] = {1, 2, 3, 4};
    test_write_jpeg(test_path("good.jpg"), &(test_jpeg){8, 8, inks, TEST_JPEG_YCCK, false, 6});
    if (mkdir(test_path("w"), 0700) != 0 || replace_file(&err) != LECO_OK) return -1;
    if (write_safetensors(&err) != LECO_OK || write_png(&err) != LECO_OK) return -1;
    rename(test_path("w/new.safetensors"), test_path("good.safetensors"));
    rename(test_path("w/new.png"), test_path("good.png"));
    /* What the actions write exists already, so the number of files must not change, whether they fail or not. */
    return write_safetensors(&err) == LECO_OK && write_png(&err) == LECO_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(use_strings_fails_cleanly),      cmocka_unit_test(use_arena_fails_cleanly),
        cmocka_unit_test(read_text_fails_cleanly),        cmocka_unit_test(make_folders_fails_cleanly),
        cmocka_unit_test(replace_file_fails_cleanly),     cmocka_unit_test(write_safetensors_fails_cleanly),
        cmocka_unit_test(read_safetensors_fails_cleanly), cmocka_unit_test(read_json_fails_cleanly),
        cmocka_unit_test(make_image_fails_cleanly),       cmocka_unit_test(write_png_fails_cleanly),
        cmocka_unit_test(read_png_fails_cleanly),         cmocka_unit_test(read_jpeg_fails_cleanly),
        cmocka_unit_test(fit_image_fails_cleanly),
    };
    return cmocka_run_group_tests(tests, make_files, NULL);
}
