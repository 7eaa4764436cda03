#include "format/json.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

#define MAX_FILE_BYTES ((size_t)64 << 20)

bool json_lacks_memory(const json_error_t *problem)
{
    return problem->text[0] == '\0' || json_error_code(problem) == json_error_out_of_memory;
}

leco_status json_read_file(const char *path, json_t **out, leco_error *err)
{
    char *text;
    size_t size;
    *out = NULL;
    LECO_TRY(file_read_text(path, MAX_FILE_BYTES, &text, &size, err));
    json_error_t problem;
    leco_status status = LECO_OK;
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
    *out = json_loadb(text, size, flags, &problem);
    /* transformers writes "no limit" as 10^30, which no integer holds: such a file's numbers all become reals. */
    if (!*out && json_error_code(&problem) == json_error_numeric_overflow)
        *out = json_loadb(text, size, flags | JSON_DECODE_INT_AS_REAL, &problem);
    if (!*out && json_lacks_memory(&problem))
        status = error_memory(err, size, path);
    else if (!*out)
        status = error_set(err, LECO_FORMAT, "%s:%d:%d: %s", path, problem.line, problem.column, problem.text);
    mem_free(text);
    return status;
}

/* Describes a value for a message, in `text`. */
static const char *describe(const json_t *value, char *text, size_t capacity)
{
    if (json_is_object(value)) return "an object";
    if (json_is_array(value)) return "a list";
    size_t length = json_dumpb(value, text, capacity - 1, JSON_ENCODE_ANY);
    if (length == 0 || length >= capacity) return json_is_string(value) ? "a long string" : "another value";
    text[length] = '\0';
    return text;
}

static leco_status wrong(const json_t *value, const char *path, const char *key, const char *expected, leco_error *err)
{
    char found[100];
    return error_set(err, LECO_INVALID, "%s: key \"%s\": expected %s, found %s", path, key, expected,
                     describe(value, found, sizeof found));
}

/* *value becomes NULL where the fallback is to be used. */
static leco_status look_up(const json_t *object, const char *path, const char *key, const json_t **value,
                           leco_error *err)
{
    *value = NULL;
    if (object && !json_is_object(object)) return wrong(object, path, key, "an object around it", err);
    const json_t *found = json_object_get(object, key);
    if (!json_is_null(found)) *value = found;
    return LECO_OK;
}

leco_status json_get_int(const json_t *object, const char *path, const char *key, int64_t fallback, int64_t low,
                         int64_t high, int64_t *out, leco_error *err)
{
    const json_t *value;
    *out = fallback;
    LECO_TRY(look_up(object, path, key, &value, err));
    if (!value) return LECO_OK;
    if (!json_is_integer(value) || json_integer_value(value) < low || json_integer_value(value) > high) {
        char expected[80];
        snprintf(expected, sizeof expected, "a whole number from %lld to %lld", (long long)low, (long long)high);
        return wrong(value, path, key, expected, err);
    }
    *out = json_integer_value(value);
    return LECO_OK;
}

leco_status json_get_double(const json_t *object, const char *path, const char *key, double fallback, double *out,
                            leco_error *err)
{
    const json_t *value;
    *out = fallback;
    LECO_TRY(look_up(object, path, key, &value, err));
    if (!value) return LECO_OK;
    if (!json_is_number(value)) return wrong(value, path, key, "a number", err);
    *out = json_number_value(value);
    return LECO_OK;
}

leco_status json_get_bool(const json_t *object, const char *path, const char *key, bool fallback, bool *out,
                          leco_error *err)
{
    const json_t *value;
    *out = fallback;
    LECO_TRY(look_up(object, path, key, &value, err));
    if (!value) return LECO_OK;
    if (!json_is_boolean(value)) return wrong(value, path, key, "true or false", err);
    *out = json_is_true(value);
    return LECO_OK;
}

leco_status json_get_string(const json_t *object, const char *path, const char *key, const char *fallback,
                            const char **out, leco_error *err)
{
    const json_t *value;
    *out = fallback;
    LECO_TRY(look_up(object, path, key, &value, err));
    if (!value) return LECO_OK;
    if (!json_is_string(value)) return wrong(value, path, key, "a string", err);
    *out = json_string_value(value);
    return LECO_OK;
}
