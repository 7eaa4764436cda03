#include "test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"

static leco_error err;

/* Writes a file whose header claims `length` bytes (-1: what it has), followed by `data_size` bytes 0, 1, 2, ... */
static const char *put(const char *header, long long length, size_t data_size)
{
    const char *path = test_path("hostile.safetensors");
    size_t text = strlen(header), size = 8 + text + data_size;
    unsigned char *bytes = malloc(size);
    assert_non_null(bytes);
    uint64_t prefix = length < 0 ? text : (uint64_t)length;
    memcpy(bytes, &prefix, 8);
    memcpy(bytes + 8, header, text);
    for (size_t i = 0; i < data_size; i++) bytes[8 + text + i] = (unsigned char)i;
    test_write(path, bytes, size);
    free(bytes);
    return path;
}

#define TENSOR(name, type, shape, begin, end)                                                                          \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

static void reads_what_is_there(void **state)
{
    (void)state;
    const char *path = put(
        "{\"__metadata__\":{\"format\":\"pt\",\"a\\nb\":\"\\u00e9\"}," TENSOR("late", "F32", "[2,1]", 8, 16) "," TENSOR(
            "early", "BF16", "[4]", 0, 8) "," TENSOR("scalar", "I64", "[]", 16, 24) "}  ",
        -1, 24);
    safetensors *file;
    assert_works(safetensors_open(path, &file, &err), &err);
    assert_string_equal(safetensors_path(file), path);
    assert_int_equal(safetensors_count(file), 3);
    assert_string_equal(safetensors_at(file, 0)->name, "early"); /* in order of the data, not of the header */
    assert_string_equal(safetensors_at(file, 1)->name, "late");
    assert_string_equal(safetensors_at(file, 2)->name, "scalar");
    assert_null(safetensors_at(file, 3));

    const safetensors_entry *late = safetensors_find(file, "late");
    assert_ptr_equal(late, safetensors_at(file, 1));
    assert_int_equal(late->type, DTYPE_F32);
    assert_int_equal(late->rank, 2);
    assert_int_equal(late->shape[0], 2);
    assert_int_equal(late->shape[1], 1);
    assert_int_equal(late->count, 2);
    for (int i = 0; i < 8; i++) assert_int_equal(((const unsigned char *)late->data)[i], 8 + i);
    const safetensors_entry *scalar = safetensors_find(file, "scalar");
    assert_int_equal(scalar->rank, 0);
    assert_int_equal(scalar->count, 1);
    assert_null(safetensors_find(file, "other"));
    assert_null(safetensors_find(file, "__metadata__"));

    assert_int_equal(safetensors_metadata_count(file), 2);
    assert_string_equal(safetensors_metadata(file, "format"), "pt");
    assert_string_equal(safetensors_metadata(file, "a\nb"), "\xc3\xa9");
    assert_null(safetensors_metadata(file, "none"));
    const char *key, *value;
    safetensors_metadata_at(file, 1, &key, &value);
    assert_string_equal(key, "a\nb");
    assert_string_equal(value, "\xc3\xa9");
    safetensors_close(file);
}

static void reads_empty_files_and_tensors(void **state)
{
    (void)state;
    safetensors *file;
    assert_works(safetensors_open(put("{}", -1, 0), &file, &err), &err);
    assert_int_equal(safetensors_count(file), 0);
    assert_null(safetensors_find(file, "a"));
    assert_int_equal(safetensors_metadata_count(file), 0);
    assert_null(safetensors_metadata(file, "a"));
    safetensors_close(file);

    /* Empty tensors share their place with the next one, whichever the header names first. */
    const char *path = put("{" TENSOR("full", "F16", "[2]", 0, 4) "," TENSOR("empty", "F32", "[0,5]", 0, 0) "," TENSOR(
                               "last", "F32", "[0]", 4, 4) ",\"__metadata__\":null}",
                           -1, 4);
    assert_works(safetensors_open(path, &file, &err), &err);
    assert_int_equal(safetensors_count(file), 3);
    assert_int_equal(safetensors_find(file, "empty")->count, 0);
    assert_int_equal(safetensors_find(file, "full")->count, 2);
    safetensors_close(file);
    safetensors_close(NULL);
}

static void unaligned_tensors_are_readable(void **state)
{
    (void)state;
    const char *path = put("{" TENSOR("flag", "U8", "[3]", 0, 3) "," TENSOR("value", "F32", "[2]", 3, 11) "}", -1, 11);
    safetensors *file;
    assert_works(safetensors_open(path, &file, &err), &err);
    const safetensors_entry *value = safetensors_find(file, "value");
    float found[2], expected[2];
    const unsigned char bytes[] = {3, 4, 5, 6, 7, 8, 9, 10};
    memcpy(expected, bytes, 8);
    dtype_convert(found, DTYPE_F32, value->data, value->type, 2);
    assert_memory_equal(found, expected, 8);
    safetensors_close(file);
}

static void other_types_are_skipped_until_asked_for(void **state)
{
    (void)state;
    const char *path = put("{" TENSOR("mask", "BOOL", "[3]", 0,
                                      3) "," TENSOR("w", "F16", "[1]", 3, 5) "," TENSOR("new", "F2_X", "[7]", 5, 6) "}",
                           -1, 6);
    safetensors *file;
    assert_works(safetensors_open(path, &file, &err), &err);
    assert_int_equal(safetensors_count(file), 1);
    assert_null(safetensors_find(file, "mask"));
    assert_int_equal(safetensors_skipped_count(file), 2);
    const char *name, *type;
    safetensors_skipped_at(file, 0, &name, &type);
    assert_string_equal(name, "mask");
    assert_string_equal(type, "BOOL");
    safetensors_skipped_at(file, 1, &name, &type);
    assert_string_equal(type, "F2_X");
    const safetensors_entry *entry;
    assert_fails(safetensors_require(file, "mask", 1, (const int64_t[]){3}, &entry, &err), LECO_UNSUPPORTED, &err, path,
                 "\"mask\"", "BOOL");
    assert_null(entry);
    safetensors_close(file);
}

static void require_checks_the_shape(void **state)
{
    (void)state;
    const char *path = put("{" TENSOR("w", "F16", "[2,3]", 0, 12) "}", -1, 12);
    safetensors *file;
    const safetensors_entry *entry;
    assert_works(safetensors_open(path, &file, &err), &err);
    assert_works(safetensors_require(file, "w", 2, (const int64_t[]){2, 3}, &entry, &err), &err);
    assert_ptr_equal(entry, safetensors_find(file, "w"));
    assert_works(safetensors_require(file, "w", 2, (const int64_t[]){-1, 3}, &entry, &err), &err);
    assert_fails(safetensors_require(file, "w", 2, (const int64_t[]){-1, 4}, &entry, &err), LECO_FORMAT, &err, path,
                 "\"w\"", "[2, 3]", "[?, 4]");
    assert_null(entry);
    assert_fails(safetensors_require(file, "w", 1, (const int64_t[]){6}, &entry, &err), LECO_FORMAT, &err, "[2, 3]",
                 "[6]");
    assert_fails(safetensors_require(file, "w", 0, NULL, &entry, &err), LECO_FORMAT, &err, "[2, 3]", "[]");
    assert_fails(safetensors_require(file, "v", 0, NULL, &entry, &err), LECO_FORMAT, &err, path, "no tensor \"v\"");
    safetensors_close(file);
}

static void blanks_mean_nothing(void **state)
{
    (void)state;
    const char *path = put(" \n{ \"a\" :\t{\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]} \r\n, "
                           "\"__metadata__\" : {\"x\": \"y\"} }  \n ",
                           -1, 4);
    safetensors *file;
    assert_works(safetensors_open(path, &file, &err), &err);
    assert_int_equal(safetensors_count(file), 1);
    assert_string_equal(safetensors_metadata(file, "x"), "y");
    safetensors_close(file);
    assert_works(safetensors_open(put(" { } ", -1, 0), &file, &err), &err);
    assert_int_equal(safetensors_any_count(file), 0);
    safetensors_close(file);
}

static void hostile_headers_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data_size;
        const char *part; /* of the message */
    } cases[] = {
        {"", 0, "header"},
        {"[]", 0, "not a JSON object"},
        {"{", 0, "header, byte"},
        {"{} x", 0, "header, byte"},
        {"{\"a\":1}", 0, "\"a\" is not described"},
        {"{\"a\":{}}", 0, "\"a\" has no dtype"},
        {"{\"a\":{\"dtype\":1}}", 0, "\"a\" has no dtype"},
        {"{\"a\":{\"dtype\":\"F32\"}}", 0, "\"a\" has no shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":{}}}", 0, "\"a\" has no shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[]}}", 0, "\"a\" has no data_offsets"},
        {"{" TENSOR("a", "F32", "[1.0]", 0, 4) "}", 4, "dimension 0"},
        {"{" TENSOR("a", "F32", "[1,-1]", 0, 4) "}", 4, "dimension 1"},
        {"{" TENSOR("a", "F32", "[\"1\"]", 0, 4) "}", 4, "dimension 0"},
        {"{" TENSOR("a", "F32", "[true]", 0, 4) "}", 4, "dimension 0"},
        {"{" TENSOR("a", "F32", "[4294967296,4294967296]", 0, 4) "}", 4, "overflow"},
        {"{" TENSOR("a", "F32", "[4611686018427387904]", 0, 0) "}", 0, "don't fit"}, /* times 4 is 0 in 64 bits */
        {"{" TENSOR("a", "F32", "[4611686018427387905]", 0, 4) "}", 4, "don't fit"}, /* and here 4 */
        {"{" TENSOR("a", "F32", "[99999999999999999999]", 0, 4) "}", 4, "\"a\": dimension 0"},
        {"{" TENSOR("a", "F32", "[2]", 0, 4) "}", 4, "2 elements of F32 don't fit its 4 bytes"},
        {"{" TENSOR("a", "U8", "[5]", 0, 4) "}", 4, "5 elements of U8 don't fit its 4 bytes"},
        {"{" TENSOR("a", "F32", "[1]", 0, 4) "}", 3, "ends at byte 4"},
        {"{" TENSOR("a", "F2_X", "[1]", 0, 4) "}", 3, "ends at byte 4"},
        {"{" TENSOR("a", "F32", "[1]", 4, 0) "}", 8, "data_offsets"},
        {"{" TENSOR("a", "F32", "[1]", -4, 0) "}", 4, "data_offsets"},
        {"{" TENSOR("a", "F32", "[1]", 0.0, 4) "}", 4, "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 4, "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "data_offsets"},
        {"{" TENSOR("a", "F32", "[1]", 0, 4) "}", 5, "1 bytes follow"},
        {"{}", 1, "1 bytes follow"},
        {"{" TENSOR("a", "F32", "[1]", 4, 8) "}", 8, "\"a\" begins at byte 4"},
        {"{" TENSOR("a", "F32", "[1]", 0, 4) "," TENSOR("b", "F32", "[1]", 8, 12) "}", 12, "\"b\" begins at byte 8"},
        {"{" TENSOR("a", "F32", "[2]", 0, 8) "," TENSOR("b", "F32", "[2]", 4, 12) "}", 12, "inside the one before"},
        {"{" TENSOR("a", "F32", "[1]", 0, 4) "," TENSOR("b", "F32", "[1]", 0, 4) "}", 4, "inside the one before"},
        {"{" TENSOR("a", "F32", "[2]", 0, 8) "," TENSOR("b", "F32", "[0]", 4, 4) "}", 8, "inside the one before"},
        {"{" TENSOR("a", "F32", "[1]", 0, 4) "," TENSOR("a", "F32", "[1]", 4, 8) "}", 8, "\"a\" is there twice"},
        {"{\"__metadata__\":null,\"__metadata__\":null}", 0, "header, byte"},
        {"{\"__metadata__\":{\"a\":\"b\"}, \"__metadata__\":{}}", 0, "header, byte"},
        {"{" TENSOR("a", "F32", "[1]", 0, 4) ",}", 4, "header, byte"},
        {"{" TENSOR("a", "F32", "[1]", 0, 4) TENSOR("b", "F32", "[1]", 4, 8) "}", 8, "header, byte"},
        {"{" TENSOR("a", "F32", "[1]", 0, 4) "}}", 4, "header, byte"},
        {"{" TENSOR("a", "F32", "[1]", 0, 4) "]", 4, "header, byte"},
        {"{3:4}", 0, "header, byte"},
        {"{\"a\"}", 0, "header, byte"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "header, byte"},
        {"{" TENSOR("a\\u0000b", "F32", "[1]", 0, 4) "}", 4, "header, byte"},
        {"{" TENSOR("a\xff", "F32", "[1]", 0, 4) "}", 4, "header, byte"},
        {"{\"__metadata__\":[]}", 0, "__metadata__ is not an object"},
        {"{\"__metadata__\":{\"k\":1}}", 0, "\"k\" is not a string"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = put(cases[i].header, -1, cases[i].data_size);
        safetensors *file;
        assert_fails(safetensors_open(path, &file, &err), LECO_FORMAT, &err, path, cases[i].part);
        assert_null(file);
    }
    safetensors *file;
    const char *path = put("{" TENSOR("a", "F32", "[1,1,1,1,1,1,1,1,1]", 0, 4) "}", -1, 4);
    assert_fails(safetensors_open(path, &file, &err), LECO_UNSUPPORTED, &err, path, "\"a\" has 9 dimensions");
}

static void lying_lengths_are_refused(void **state)
{
    (void)state;
    safetensors *file;
    static const long long lengths[] = {3, 100, 100000001, INT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const char *path = put("{}", lengths[i], 0);
        const bool possible = lengths[i] <= 100000000;
        assert_fails(safetensors_open(path, &file, &err), LECO_FORMAT, &err, path,
                     possible ? "incomplete" : "no safetensors file", possible ? "of which 2 are there" : "header");
    }
    for (long long length = 0; length < 2; length++)
        assert_fails(safetensors_open(put("{}", length, 0), &file, &err), LECO_FORMAT, &err, "header, byte");
    const char *path = test_path("short.safetensors");
    for (size_t size = 0; size < 8; size++) {
        test_write(path, "\2\0\0\0\0\0\0\0", size);
        assert_fails(safetensors_open(path, &file, &err), LECO_FORMAT, &err, path, "no safetensors file");
    }
    assert_fails(safetensors_open(test_path("absent"), &file, &err), LECO_IO, &err, "absent", "cannot open");
    assert_fails(safetensors_open(test_folder(), &file, &err), LECO_IO, &err, "is a folder");
}

/* A million tensors are a matter of seconds: nothing in reading them goes by the square of their number. */
static void a_million_tensors_are_read(void **state)
{
    (void)state;
    enum { COUNT = 1000000, EACH = 64 };
    char *header = malloc((size_t)COUNT * EACH);
    size_t used = 0;
    assert_non_null(header);
    for (int i = 0; i < COUNT; i++)
        used +=
            (size_t)snprintf(header + used, EACH, "%c\"t%d\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}",
                             i ? ',' : '{', i);
    strcpy(header + used, "}");
    safetensors *file;
    assert_works(safetensors_open(put(header, -1, 0), &file, &err), &err);
    assert_int_equal(safetensors_count(file), COUNT);
    assert_non_null(safetensors_find(file, "t999999"));
    assert_null(safetensors_find(file, "t1000000"));
    safetensors_close(file);
    free(header);
}

/* Far more braces than any stack holds; and a name that would clear the user's terminal. */
static void nasty_text_does_no_harm(void **state)
{
    (void)state;
    static char deep[200001];
    memset(deep, '[', sizeof deep - 1);
    memcpy(deep, "{\"a\":", 5);
    safetensors *file;
    assert_fails(safetensors_open(put(deep, -1, 0), &file, &err), LECO_FORMAT, &err, "header");
    assert_fails(safetensors_open(put("{\"\\u001b[2J\":1}", -1, 0), &file, &err), LECO_FORMAT, &err, "?[2J");
    assert_null(strchr(err.message, 27));
}

static void writes_what_it_reads(void **state)
{
    (void)state;
    const char *path = test_path("out.safetensors");
    const uint16_t halves[] = {0x3c00, 0x4000, 0x4200};
    const float floats[] = {1.5f, -2.5f};
    const int64_t whole = -7;
    const safetensors_entry entries[] = {
        {.name = "half \"quoted\"\n\xe2\x82\xac",
         .type = DTYPE_F16,
         .rank = 1,
         .shape = {3},
         .count = 3,
         .data = halves},
        {.name = "float", .type = DTYPE_F32, .rank = 3, .shape = {1, 2, 1}, .count = 2, .data = floats},
        {.name = "none", .type = DTYPE_BF16, .rank = 2, .shape = {4, 0}, .count = 0, .data = NULL},
        {.name = "whole", .type = DTYPE_I64, .rank = 0, .count = 1, .data = &whole},
    };
    const char *const metadata[][2] = {{"ss_network_dim", "4"},
                                       {"title \\", "a \"b\"\t\x01\xc2\x80\xed\x9f\xbf\xf4\x8f\xbf\xbf"}};
    assert_works(safetensors_write(path, entries, 4, metadata, 2, &err), &err);
    size_t size;
    unsigned char *bytes = test_read(path, &size);
    uint64_t length;
    memcpy(&length, bytes, 8);
    assert_int_equal((8 + length) % 8, 0);
    assert_int_equal(size, 8 + length + 8 + 8 + 6);
    assert_int_equal(bytes[8], '{');
    free(bytes);

    safetensors *file;
    assert_works(safetensors_open(path, &file, &err), &err);
    assert_int_equal(safetensors_count(file), 4);
    assert_string_equal(safetensors_at(file, 0)->name, "whole"); /* the widest first, so that all are aligned */
    assert_string_equal(safetensors_at(file, 1)->name, "float");
    for (size_t i = 0; i < 4; i++) {
        const safetensors_entry *found = safetensors_find(file, entries[i].name);
        assert_non_null(found);
        assert_int_equal(found->type, entries[i].type);
        assert_int_equal(found->rank, entries[i].rank);
        assert_int_equal(found->count, entries[i].count);
        for (int d = 0; d < found->rank; d++) assert_int_equal(found->shape[d], entries[i].shape[d]);
        assert_int_equal((uintptr_t)found->data % dtype_size(found->type), 0);
        if (found->count > 0) assert_memory_equal(found->data, entries[i].data, found->count * dtype_size(found->type));
    }
    assert_int_equal(safetensors_metadata_count(file), 2);
    assert_string_equal(safetensors_metadata(file, "ss_network_dim"), "4");
    assert_string_equal(safetensors_metadata(file, "title \\"), metadata[1][1]);
    safetensors_close(file);

    assert_works(safetensors_write(path, NULL, 0, NULL, 0, &err), &err);
    assert_works(safetensors_open(path, &file, &err), &err);
    assert_int_equal(safetensors_count(file), 0);
    safetensors_close(file);
}

/* More tensors than a U-Net has: the header outgrows its first buffer, and find must look among many names. */
static void many_tensors(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    static safetensors_entry entries[COUNT];
    static char names[COUNT][32];
    static float values[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof names[i], "block.%zu.weight", i * 7919 % COUNT);
        values[i] = (float)i;
        entries[i] = (safetensors_entry){names[i], DTYPE_F32, 1, {1}, 1, &values[i]};
    }
    const char *path = test_path("many.safetensors");
    assert_works(safetensors_write(path, entries, COUNT, NULL, 0, &err), &err);
    safetensors *file;
    assert_works(safetensors_open(path, &file, &err), &err);
    assert_int_equal(safetensors_count(file), COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_string_equal(safetensors_at(file, i)->name, names[i]);
        assert_memory_equal(safetensors_find(file, names[i])->data, &values[i], sizeof(float));
    }
    safetensors_close(file);
}

static void refuses_to_write_nonsense(void **state)
{
    (void)state;
    const char *path = test_path("nonsense.safetensors");
    const float value[4] = {0};
    const safetensors_entry good = {"a", DTYPE_F32, 1, {1}, 1, value};
    safetensors_entry bad[2] = {good, good};
    assert_fails(safetensors_write(path, bad, 2, NULL, 0, &err), LECO_INVALID, &err, path, "two entries named \"a\"");
    bad[1].name = "__metadata__";
    assert_fails(safetensors_write(path, bad, 2, NULL, 0, &err), LECO_INVALID, &err, path, "__metadata__");
    bad[1].name = "b\xff";
    assert_fails(safetensors_write(path, bad, 2, NULL, 0, &err), LECO_INVALID, &err, path, "UTF-8");
    bad[1] = (safetensors_entry){"b", DTYPE_F32, 1, {2}, 1, value};
    assert_fails(safetensors_write(path, bad, 2, NULL, 0, &err), LECO_INVALID, &err, path, "\"b\"", "disagree");
    bad[1] = (safetensors_entry){"b", DTYPE_F32, 1, {-1}, SIZE_MAX, value};
    assert_fails(safetensors_write(path, bad, 2, NULL, 0, &err), LECO_INVALID, &err, "\"b\"");
    bad[1] = (safetensors_entry){"b", DTYPE_F32, 1, {INT64_MAX}, INT64_MAX, value};
    assert_fails(safetensors_write(path, bad, 2, NULL, 0, &err), LECO_INVALID, &err, "\"b\"");
    const char *const twice[][2] = {{"k", "1"}, {"l", "2"}, {"k", "3"}};
    assert_fails(safetensors_write(path, &good, 1, twice, 3, &err), LECO_INVALID, &err, "two entries named \"k\"");
    static const char *const malformed[] = {"\xe9",
                                            "\x80",
                                            "\xc0\x80",
                                            "\xe0\x9f\xbf",
                                            "\xed\xa0\x80",
                                            "\xf0\x8f\xbf\xbf",
                                            "\xf4\x90\x80\x80",
                                            "\xf5\x80\x80\x80",
                                            "\xe2\x82",
                                            "\xff"};
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        const char *const metadata[][2] = {{"k", malformed[i]}};
        assert_fails(safetensors_write(path, &good, 1, metadata, 1, &err), LECO_INVALID, &err, "UTF-8");
    }
    assert_fails(safetensors_write(test_path("no/such"), &good, 1, NULL, 0, &err), LECO_IO, &err, "no/such");
    FILE *file = fopen(path, "rb");
    assert_null(file); /* nothing was written */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_is_there),
        cmocka_unit_test(a_million_tensors_are_read),
        cmocka_unit_test(reads_empty_files_and_tensors),
        cmocka_unit_test(unaligned_tensors_are_readable),
        cmocka_unit_test(other_types_are_skipped_until_asked_for),
        cmocka_unit_test(require_checks_the_shape),
        cmocka_unit_test(blanks_mean_nothing),
        cmocka_unit_test(hostile_headers_are_refused),
        cmocka_unit_test(lying_lengths_are_refused),
        cmocka_unit_test(nasty_text_does_no_harm),
        cmocka_unit_test(writes_what_it_reads),
        cmocka_unit_test(many_tensors),
        cmocka_unit_test(refuses_to_write_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
