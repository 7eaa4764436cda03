/* The header that is written: control characters as the safetensors library writes them, and where the data begin. */
#include "test_support.h"

#include <stdio.h>
#include <string.h>

#include "format/safetensors.h"

static leco_error err;

static void strings_are_escaped_as_by_the_library(void **state)
{
    (void)state;
    static const char *const metadata[][2] = {{"a", "1\n\t\r\b\f"}, {"b", "\x01\x1f\x7f\"\\/\xc3\xa9"}};
    const float value = 1;
    const safetensors_entry entry = {
        .name = "x", .type = DTYPE_F32, .rank = 1, .shape = {1}, .count = 1, .data = &value};
    const char *path = test_path("escaped.safetensors");
    assert_works(safetensors_write(path, &entry, 1, metadata, 2, &err), &err);
    static const char expected[] =
        "{\"__metadata__\":{\"a\":\"1\\n\\t\\r\\b\\f\",\"b\":\"\\u0001\\u001f\x7f\\\"\\\\/\xc3\xa9\"},"
        "\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    char bytes[512];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t size = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    assert_true(size < sizeof bytes && size > 8 + strlen(expected));
    assert_memory_equal(bytes + 8, expected, strlen(expected));
    size_t begin = 0;
    assert_works(safetensors_data_begin(path, &entry, 1, metadata, 2, &begin, &err), &err);
    assert_int_equal(begin, size - sizeof value);
    assert_int_equal(begin, 8 + (strlen(expected) + 7) / 8 * 8);

    safetensors *back;
    assert_works(safetensors_open(path, &back, &err), &err);
    assert_string_equal(safetensors_metadata(back, "a"), metadata[0][1]);
    assert_string_equal(safetensors_metadata(back, "b"), metadata[1][1]);
    safetensors_close(back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(strings_are_escaped_as_by_the_library)};
    return cmocka_run_group_tests_name("unit/safetensors_header", tests, NULL, NULL);
}
