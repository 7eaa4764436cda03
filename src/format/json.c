#include "format/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

#define MAX_FILE_BYTES ((size_t)64 << 20)

bool json_lacks_memory(const json_error_t *problem)
{
    return problem->text[0] == '\0' || json_error_code(problem) == json_error_out_of_memory;
}

/* ---- Python's words ---- */

/* What Python's json writes, and reads, for numbers that JSON lacks. In place of each comes a string of the same length
 * that no file has, so that positions in messages stay right and whoever needs a number says what stands there. */
static const struct {
    const char *word, *stand_in;
} words[] = {{"NaN", "\"\x7f\""}, {"Infinity", "\"\x7fInfin\""}, {"-Infinity", "\"\x7f-Infin\""}};

enum { WORDS = sizeof words / sizeof words[0] };

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Puts the stand-in for a word that begins here and ends its value; returns its length, or 0. */
static size_t replace_word(char *text, size_t size)
{
    for (size_t i = 0; i < WORDS; i++) {
        size_t length = strlen(words[i].word), end = length;
        if (size < length || memcmp(text, words[i].word, length) != 0) continue;
        while (end < size && is_blank(text[end])) end++;
        if (end < size && text[end] != ',' && text[end] != ']' && text[end] != '}') return 0;
        memcpy(text, words[i].stand_in, length);
        return length;
    }
    return 0;
}

static void replace_words(char *text, size_t size)
{
    bool quoted = false;
    char before = ':'; /* the last character that is not blank: a value follows one of : , [ or stands alone */
    for (size_t i = 0; i < size; i++) {
        if (quoted && text[i] == '\\') {
            i++;
        } else if (text[i] == '"') {
            quoted = !quoted;
            before = '"';
        } else if (!quoted && !is_blank(text[i])) {
            size_t length = strchr(":,[", before) ? replace_word(text + i, size - i) : 0;
            before = length ? '"' : text[i];
            if (length) i += length - 1;
        }
    }
}

static const char *word_of(const json_t *value)
{
    const char *string = json_string_value(value);
    if (!string || string[0] != '\x7f') return NULL;
    for (size_t i = 0; i < WORDS; i++)
        if (strncmp(string, words[i].stand_in + 1, strlen(string)) == 0 && strlen(string) + 2 == strlen(words[i].word))
            return words[i].word;
    return NULL;
}

/* ---- files ---- */

leco_status json_read_file(const char *path, json_t **out, leco_error *err)
{
    char *text;
    size_t size;
    *out = NULL;
    LECO_TRY(file_read_text(path, MAX_FILE_BYTES, &text, &size, err));
    replace_words(text, size);
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

/* ---- messages ---- */

const char *json_number(double value, char *text)
{
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, 32, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    return text;
}

/* As a file would have it, where that fits. */
static bool dump(const json_t *value, char *text, size_t capacity)
{
    for (size_t digits = 15; digits <= 17; digits++) {
        const size_t flags = JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(digits);
        size_t length = json_dumpb(value, text, capacity - 1, flags);
        if (length == 0 || length >= capacity) return false;
        text[length] = '\0';
        json_t *back = json_loadb(text, length, JSON_DECODE_ANY, NULL);
        bool same = back && json_equal(back, value);
        json_decref(back);
        if (same) return true;
    }
    return true;
}

const char *json_describe(const json_t *value, char *text, size_t capacity)
{
    if (!value) return "nothing";
    if (word_of(value)) return word_of(value);
    if (dump(value, text, capacity)) return text;
    if (json_is_object(value)) return "an object";
    if (json_is_array(value)) return "a list";
    return json_is_string(value) ? "a long string" : "another value";
}

static leco_status wrong(const json_t *value, const char *path, const char *key, const char *expected, leco_error *err)
{
    char text[100];
    const char *found = json_is_object(value)  ? "an object"
                        : json_is_array(value) ? "a list"
                                               : json_describe(value, text, sizeof text);
    return error_set(err, LECO_INVALID, "%s: key \"%s\": expected %s, found %s", path, key, expected, found);
}

/* ---- getters ---- */

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
