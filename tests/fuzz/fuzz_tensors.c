#include "fuzz_tensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TENSORS 256

/* One more than the index of the header's last byte; 0 where there is no header. */
static size_t header_end(const uint8_t *data, size_t size)
{
    for (size_t i = size; i > 8; i--) {
        if (data[i - 1] != '}') continue;
        while (i < size && data[i] == ' ') i++;
        return i;
    }
    return 0;
}

size_t fuzz_repair_header(uint8_t *data, size_t size)
{
    size_t end = header_end(data, size);
    uint64_t length = end - 8;
    if (end) memcpy(data, &length, sizeof length);
    return size;
}

/* The bytes that a tensor's type and shape ask for, or `fallback`. */
static size_t bytes_of(const json_t *info, size_t most, size_t fallback)
{
    static const struct {
        const char *name;
        size_t bytes;
    } types[] = {{"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F64", 8}, {"I64", 8}, {"I32", 4},
                 {"U8", 1},  {"I8", 1},  {"BOOL", 1}, {"I16", 2}, {"U16", 2}, {"F8_E4M3", 1}};
    const char *type = json_string_value(json_object_get(info, "dtype"));
    size_t bytes = 0, index;
    json_t *dim;
    for (size_t i = 0; type && i < sizeof types / sizeof *types; i++)
        if (strcmp(type, types[i].name) == 0) bytes = types[i].bytes;
    json_array_foreach(json_object_get(info, "shape"), index, dim) {
        json_int_t value = json_integer_value(dim);
        if (value < 0 || (size_t)value > most) return fallback;
        bytes *= (size_t)value;
        if (bytes > most) return fallback;
    }
    return bytes;
}

static json_int_t begin_of(const json_t *info)
{
    return json_integer_value(json_array_get(json_object_get(info, "data_offsets"), 0));
}

static json_int_t end_of(const json_t *info)
{
    return json_integer_value(json_array_get(json_object_get(info, "data_offsets"), 1));
}

/* As they lie in the file. */
static int by_offset(const void *a, const void *b)
{
    const json_t *const *x = a, *const *y = b;
    json_int_t left = begin_of(*x), right = begin_of(*y);
    if (left == right) left = end_of(*x), right = end_of(*y);
    return left < right ? -1 : left > right;
}

/* Lays the tensors end to end, in the order of their offsets. Returns the bytes of all. */
static size_t lay_out(json_t *root, size_t most)
{
    json_t *info, *tensors[MAX_TENSORS];
    const char *key;
    size_t count = 0, total = 0;
    json_object_foreach(root, key, info) {
        if (strcmp(key, "__metadata__") != 0 && json_is_object(info) && count < MAX_TENSORS) tensors[count++] = info;
    }
    qsort(tensors, count, sizeof *tensors, by_offset);
    for (size_t i = 0; i < count; i++) {
        size_t bytes = bytes_of(tensors[i], most, 4);
        json_object_set_new(tensors[i], "data_offsets",
                            json_pack("[I, I]", (json_int_t)total, (json_int_t)(total + bytes)));
        total += bytes;
    }
    return total;
}

size_t fuzz_repair_tensors(uint8_t *data, size_t size, size_t capacity)
{
    size_t end = header_end(data, size), old = size - end;
    json_t *root = end ? json_loadb((const char *)data + 8, end - 8, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (!json_is_object(root)) {
        json_decref(root);
        return fuzz_repair_header(data, size);
    }
    size_t total = lay_out(root, capacity);
    char *text = json_dumps(root, JSON_COMPACT);
    size_t length = text ? strlen(text) : 0, padded = (length + 7) / 8 * 8;
    if (length > 0 && 8 + padded + total <= capacity) {
        memmove(data + 8 + padded, data + end, old < total ? old : total);
        if (total > old) memset(data + 8 + padded + old, 0, total - old);
        memset(data + 8, ' ', padded);
        memcpy(data + 8, text, length);
        size = 8 + padded + total;
        fuzz_repair_header(data, size);
        uint64_t header = padded; /* the data may hold a brace, too */
        memcpy(data, &header, sizeof header);
    }
    free(text);
    json_decref(root);
    return size;
}
