/* The header that is written: control characters as the safetensors library writes them, and where the data begin. */
#include "test_support.h"

#include <stdio.h>
#include <string.h>

#include "format/safetensors.h"

static leco_error err;

static void strings_are_escaped_as_by_the_library(void **state)
{
    (void)state;
    static const char *const metadata[][2] = {{"a", "\1771\n\t\r\b\f"}, {"b", "\x01\x1f\x7f\"\\/\xc3\xa9"}};
    const float value = 1;
    const safetensors_entry entry = {
        .name = "x", .type = DTYPE_F32, .rank = 1, .shape = {1}, .count = 1, .data = &value};
    const char *path = test_path("escaped.safetensors");
    assert_works(safetensors_write(path, &entry, 1, metadata, 2, &err), &err);
    static const char expected[] = "{\"__metadata__\":{\"a\":\"\177"
                                   "1\\n\\t\\r\\b\\f\",\"b\":\"\\u0001\\u001f\x7f\\\"\\\\/\xc3\xa9\"},"
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

static const char *put(const char *header, size_t data_size)
{
    char bytes[1024] = {0};
    const uint64_t length = strlen(header);
    memcpy(bytes, &length, sizeof length);
    memcpy(bytes + sizeof length, header, length);
    test_write(test_path("huge.safetensors"), bytes, sizeof length + length + data_size);
    return test_path("huge.safetensors");
}

static void a_huge_number_matters_where_it_is_used(void **state)
{
    (void)state;
    safetensors *file;
    assert_works(
        safetensors_open(put("{\"x\":{\"dtype\":\"F32\",\"note\":1000000000000000000000000000000,\"more\":1e400,"
                             "\"shape\":[1],\"data_offsets\":[0,4]}}",
                             4),
                         &file, &err),
        &err);
    assert_int_equal(safetensors_find(file, "x")->count, 1);
    safetensors_close(file);
    static const char *const wrong[][2] = {
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1000000000000000000000000000000],\"data_offsets\":[0,4]}}",
         "dimension 0"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,40000000000000000000]}}", "data_offsets"},
        {"{\"x\":{\"dtype\":1e400,\"shape\":[1],\"data_offsets\":[0,4]}}", "has no dtype"},
        {"{\"__metadata__\":{\"x\":1e400}}", "\"x\" is not a string"},
        {"{\"a\":1e400,\"b\":oops}", "header, byte 19: "}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_fails(safetensors_open(put(wrong[i][0], 4), &file, &err), LECO_FORMAT, &err, wrong[i][1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(strings_are_escaped_as_by_the_library),
                                       cmocka_unit_test(a_huge_number_matters_where_it_is_used)};
    return cmocka_run_group_tests_name("unit/safetensors_header", tests, NULL, NULL);
}
