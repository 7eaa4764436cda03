/* Changes to a value of a JSON text, which stays JSON: so that a mutation gets past the syntax. */
#include "fuzz.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NODES 512
#define FURTHEST 16 /* that the text may begin after the input, or after a line "=== NAME" */

/* All values of a tree, the root first. */
typedef struct nodes {
    json_t *at[MAX_NODES];
    size_t count;
} nodes;

static void collect(json_t *value, nodes *n)
{
    const char *key;
    size_t index;
    json_t *item;
    if (n->count == MAX_NODES) return;
    n->at[n->count++] = value;
    if (json_is_object(value))
        json_object_foreach(value, key, item) collect(item, n);
    if (json_is_array(value))
        json_array_foreach(value, index, item) collect(item, n);
}

/* A string of the format, without the quotes and the colon that it may have. */
static json_t *random_string(uint64_t *state)
{
    char text[128];
    size_t words = 0, length = 0;
    while (fuzz_words[words]) words++;
    for (const char *p = fuzz_words[fuzz_random(state, words)]; *p && length + 1 < sizeof text; p++) {
        if (*p == '"' && length > 0) break;
        if (*p != '"') text[length++] = *p;
    }
    text[length] = '\0';
    return json_string(text);
}

static json_t *random_value(const json_t *old, const nodes *n, uint64_t *state)
{
    static const json_int_t numbers[] = {0,    1,    -1,    2,     3,      4,          5,          8,
                                         64,   77,   255,   1000,  65536,  65537,      2147483647, 2147483648,
                                         4096, 4097, 16384, 50000, 100001, 4294967295, INT64_MAX,  INT64_MIN};
    static const double reals[] = {0, -0.0, 0.5, 1, 1e-12, 1e-13, 1e308, -1.5, 1e19};
    static const char *const texts[] = {"[]", "{}", "[1]", "[2, 4]", "[4, 1, 1, 1, 1]", "\"\"", "[[1]]", "[null]"};
    size_t kind = fuzz_random(state, 8);
    json_int_t number = json_integer_value(old) & 0xffffff;
    if (kind < 2 && json_is_integer(old)) return json_integer(kind ? number + 1 : 2 * number);
    if (kind < 3) return json_integer(numbers[fuzz_random(state, sizeof numbers / sizeof *numbers)]);
    if (kind < 4) return json_real(reals[fuzz_random(state, sizeof reals / sizeof *reals)]);
    if (kind < 5) return random_string(state);
    if (kind < 6) return fuzz_random(state, 3) ? json_boolean(fuzz_random(state, 2)) : json_null();
    if (kind < 7) return json_loads(texts[fuzz_random(state, sizeof texts / sizeof *texts)], JSON_DECODE_ANY, NULL);
    return json_deep_copy(n->at[fuzz_random(state, n->count)]);
}

static void change_array(json_t *list, const nodes *n, uint64_t *state)
{
    size_t at = fuzz_random(state, json_array_size(list));
    json_t *old = json_array_get(list, at);
    switch (fuzz_random(state, 4)) {
    case 0:
        json_array_remove(list, at);
        break;
    case 1:
        json_array_insert_new(list, at, old ? json_deep_copy(old) : random_value(NULL, n, state));
        break;
    default:
        json_array_set_new(list, at, random_value(old, n, state));
    }
}

static void change_object(json_t *object, const nodes *n, uint64_t *state)
{
    size_t at = fuzz_random(state, json_object_size(object)), index = 0;
    void *iterator = json_object_iter(object);
    while (iterator && index++ < at) iterator = json_object_iter_next(object, iterator);
    json_t *name = random_string(state), *old = iterator ? json_object_iter_value(iterator) : NULL;
    switch (name && fuzz_is_utf8(json_string_value(name), json_string_length(name)) ? fuzz_random(state, 6) : 5) {
    case 0:
        if (iterator) json_object_del(object, json_object_iter_key(iterator));
        break;
    case 1: /* another key */
        if (iterator) {
            json_object_set(object, json_string_value(name), old);
            json_object_del(object, json_object_iter_key(iterator));
        }
        break;
    case 2:
        json_object_set_new(object, json_string_value(name), random_value(NULL, n, state));
        break;
    default:
        if (iterator) json_object_iter_set_new(object, iterator, random_value(old, n, state));
    }
    json_decref(name);
}

/* Where the part that a random place lies in begins: after a line "=== NAME", or with the input. */
static size_t begin_of_part(const uint8_t *data, size_t size, uint64_t *state)
{
    for (size_t at = fuzz_random(state, size); at > 0; at--) {
        if (size - at < 4 || data[at - 1] != '\n' || memcmp(data + at, "=== ", 4) != 0) continue;
        const uint8_t *end = memchr(data + at, '\n', size - at);
        return end ? (size_t)(end - data) + 1 : size;
    }
    return 0;
}

size_t fuzz_mutate_json(uint8_t *data, size_t size, size_t capacity, uint64_t *state)
{
    nodes n = {.count = 0};
    json_error_t error;
    size_t begin = begin_of_part(data, size, state), end = begin;
    while (end < size && end < begin + FURTHEST && data[end] != '{' && data[end] != '[') end++;
    begin = end;
    json_t *root =
        json_loadb((const char *)data + begin, size - begin, JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, &error);
    if (!root) return size;
    end = begin + (size_t)error.position;
    collect(root, &n);
    json_t *value = n.at[fuzz_random(state, n.count)];
    for (int tries = 0; tries < 8 && !json_is_object(value) && !json_is_array(value); tries++)
        value = n.at[fuzz_random(state, n.count)];
    if (json_is_array(value)) change_array(value, &n, state);
    if (json_is_object(value)) change_object(value, &n, state);
    bool has_lines = memchr(data + begin, '\n', end - begin) != NULL;
    char *text = json_dumps(root, JSON_ENCODE_ANY | (has_lines ? JSON_INDENT(1) : JSON_COMPACT));
    size_t length = text ? strlen(text) : 0;
    if (length > 0 && size - (end - begin) + length <= capacity) {
        memmove(data + begin + length, data + end, size - end);
        memcpy(data + begin, text, length);
        size += length - (end - begin);
    }
    free(text);
    json_decref(root);
    return size;
}
