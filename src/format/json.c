#include "format/json.h"

#include <errno.h>
#include <math.h>
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

/* ---- numbers that a double or 64 bits don't hold ---- */

/* Python's json writes, and reads, NaN and Infinity, which JSON lacks, and transformers writes "no limit" as 10^30. In
 * place of each comes a string that no file has, the mark and what stands there, so that the rest of the file is read
 * as it is, and whoever needs a number can say what was found. */
#define MARK '\x7f'
enum { MARKED = 3 }; /* characters that a stand-in is longer: mark and quotes */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static size_t digit_count(const char *text, size_t size)
{
    size_t i = 0;
    while (i < size && text[i] >= '0' && text[i] <= '9') i++;
    return i;
}

/* Length of a number as JSON writes it, 0 for none; *whole: without a fraction or exponent. */
static size_t number_length(const char *text, size_t size, bool *whole)
{
    size_t at = size > 0 && text[0] == '-', more = digit_count(text + at, size - at);
    if (more == 0 || (more > 1 && text[at] == '0')) return 0;
    at += more;
    *whole = true;
    if (at < size && text[at] == '.') {
        more = digit_count(text + at + 1, size - at - 1);
        if (more == 0) return 0;
        at += 1 + more;
        *whole = false;
    }
    if (at < size && (text[at] == 'e' || text[at] == 'E')) {
        const size_t sign = at + 1 < size && strchr("+-", text[at + 1]) ? 1 : 0;
        more = digit_count(text + at + 1 + sign, size - at - 1 - sign);
        if (more == 0) return 0;
        at += 1 + sign + more;
        *whole = false;
    }
    return at;
}

static bool is_huge(const char *number, bool whole)
{
    errno = 0;
    if (!whole) return isinf(strtod(number, NULL));
    strtoll(number, NULL, 10);
    return errno == ERANGE;
}

/* Length of such a number that begins here, or 0. A number that ends the text, with nothing behind it, is none. */
static size_t odd_number(const char *text, size_t size)
{
    static const char *const words[] = {"NaN", "Infinity", "-Infinity"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (size >= strlen(words[i]) && memcmp(text, words[i], strlen(words[i])) == 0) return strlen(words[i]);
    bool whole;
    const size_t length = number_length(text, size, &whole);
    /* None is shorter than 1e309; and strtod must find an end. */
    return length >= 5 && length < size && is_huge(text, whole) ? length : 0;
}

static size_t odd_value(const char *text, size_t size)
{
    const size_t length = odd_number(text, size);
    size_t end = length;
    while (end < size && is_blank(text[end])) end++;
    return end < size && !strchr(",]}", text[end]) ? 0 : length;
}

/* Copies the text with stand-ins to `out` (NULL: only counts); returns how many there are. */
static size_t stand_in(const char *text, size_t size, char *out)
{
    bool quoted = false;
    char before = ':'; /* the last character that is not blank: a value follows one of : , [ or stands alone */
    size_t count = 0;
    for (size_t i = 0; i < size;) {
        size_t taken = 1;
        const bool begins = !quoted && !is_blank(text[i]) && strchr(":,[", before);
        const size_t odd = begins ? odd_value(text + i, size - i) : 0;
        if (odd > 0) {
            if (out) {
                *out++ = '"';
                *out++ = MARK;
                memcpy(out, text + i, odd);
                out[odd] = '"';
                out += odd + 1;
            }
            count++;
            i += odd;
            before = '"';
            continue;
        }
        if (quoted && text[i] == '\\' && i + 1 < size)
            taken = 2;
        else if (text[i] == '"')
            quoted = !quoted;
        if (!quoted && !is_blank(text[i])) before = text[i];
        if (out) memcpy(out, text + i, taken);
        if (out) out += taken;
        i += taken;
    }
    return count;
}

/* What stands in for a number, or NULL. */
static const char *number_text(const json_t *value)
{
    const char *string = json_string_value(value);
    const size_t length = json_string_length(value);
    return length > 1 && string[0] == MARK && odd_number(string + 1, length) == length - 1 ? string + 1 : NULL;
}

/* Makes the place of a mistake that of the text without stand-ins. */
static void correct_place(json_error_t *problem, const char *text)
{
    int in_all = 0, in_line = 0;
    for (int i = 0; i + 1 < problem->position; i++) {
        const bool found = text[i] == '"' && text[i + 1] == MARK;
        in_all += found;
        in_line = text[i] == '\n' ? 0 : in_line + found;
    }
    problem->position -= MARKED * in_all;
    problem->column -= MARKED * in_line;
}

json_t *json_parse(const char *text, size_t size, size_t flags, json_error_t *problem)
{
    const size_t odd = stand_in(text, size, NULL);
    if (odd == 0) return json_loadb(text, size, flags, problem);
    const size_t longer = size + MARKED * odd;
    char *changed = mem_calloc(longer, 1);
    if (!changed) {
        *problem = (json_error_t){.line = 0};
        return NULL;
    }
    stand_in(text, size, changed);
    json_t *root = json_loadb(changed, longer, flags, problem);
    if (!root) correct_place(problem, changed);
    mem_free(changed);
    return root;
}

bool json_is_text(const json_t *value)
{
    return json_is_string(value) && !number_text(value);
}

/* ---- files ---- */

leco_status json_read_file(const char *path, json_t **out, leco_error *err)
{
    char *text;
    size_t size;
    *out = NULL;
    LECO_TRY(file_read_text(path, MAX_FILE_BYTES, &text, &size, err));
    json_error_t problem;
    leco_status status = LECO_OK;
    *out = json_parse(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
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

/* Puts the numbers back where stand-ins are. */
static void restore_numbers(char *text)
{
    char *to = text;
    bool number = false;
    for (const char *from = text; *from; from++) {
        if (from[0] == '"' && from[1] == MARK) {
            number = true;
            from++;
        } else if (number && *from == '"') {
            number = false;
        } else {
            *to++ = *from;
        }
    }
    *to = '\0';
}

/* As a file would have it, where that fits. */
static bool dump(const json_t *value, char *text, size_t capacity)
{
    for (size_t precision = 15; precision <= 17; precision++) {
        const size_t flags = JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(precision);
        size_t length = json_dumpb(value, text, capacity - 1, flags);
        if (length == 0 || length >= capacity) return false;
        text[length] = '\0';
        json_t *back = json_loadb(text, length, JSON_DECODE_ANY, NULL);
        bool same = back && json_equal(back, value);
        json_decref(back);
        if (same) break;
    }
    restore_numbers(text);
    return true;
}

const char *json_describe(const json_t *value, char *text, size_t capacity)
{
    if (!value) return "nothing";
    if (dump(value, text, capacity)) return text;
    if (json_is_object(value)) return "an object";
    if (json_is_array(value)) return "a list";
    if (number_text(value)) return "a number of many digits";
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

/* An integer of more than 64 bits is a real like others. */
static bool as_double(const json_t *value, double *out)
{
    const char *text = number_text(value);
    const double number = text ? strtod(text, NULL) : json_number_value(value);
    if (!(text ? isfinite(number) : json_is_number(value))) return false;
    *out = number;
    return true;
}

leco_status json_get_double(const json_t *object, const char *path, const char *key, double fallback, double *out,
                            leco_error *err)
{
    const json_t *value;
    *out = fallback;
    LECO_TRY(look_up(object, path, key, &value, err));
    if (!value) return LECO_OK;
    if (!as_double(value, out)) return wrong(value, path, key, "a number", err);
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
    if (!json_is_text(value)) return wrong(value, path, key, "a string", err);
    *out = json_string_value(value);
    return LECO_OK;
}
