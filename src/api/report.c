#include "api/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

static void print_value(FILE *out, const json_t *value, int depth);

/* Objects that hold no objects or lists of them fit on one line. */
static bool is_flat(const json_t *value)
{
    if (json_is_array(value)) {
        size_t i;
        json_t *item;
        json_array_foreach(value, i, item)
            if (json_is_object(item) || json_is_array(item)) return false;
        return true;
    }
    if (!json_is_object(value)) return true;
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
        if (json_is_object(item) || !is_flat(item)) return false;
    return json_object_size(value) <= 6;
}

/* Keys, and strings among others on a line: they may come out of a file, and must not break the line. The rest of what
 * could harm is seen to at the end, in report_text. */
static void print_word(FILE *out, const char *text)
{
    for (; *text; text++) fputc(strchr("\n\r\t", *text) ? ' ' : *text, out);
}

static void print_scalar(FILE *out, const json_t *value)
{
    if (json_is_string(value))
        print_word(out, json_string_value(value));
    else if (json_is_integer(value))
        fprintf(out, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        fprintf(out, "%.6g", json_real_value(value));
    else
        fputs(json_is_true(value) ? "yes" : json_is_false(value) ? "no" : "none", out);
}

static void print_flat(FILE *out, const json_t *value)
{
    const char *separator = "";
    if (json_is_array(value)) {
        size_t i;
        json_t *item;
        fputc('[', out);
        json_array_foreach(value, i, item) {
            fputs(separator, out);
            print_scalar(out, item);
            separator = ", ";
        }
        fputc(']', out);
        return;
    }
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)(uintptr_t)value, key, item) {
        fputs(separator, out);
        print_word(out, key);
        fputc(' ', out);
        if (json_is_array(item))
            print_flat(out, item);
        else
            print_scalar(out, item);
        separator = ", ";
    }
}

static void print_items(FILE *out, const json_t *object, int depth)
{
    size_t widest = 0;
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)(uintptr_t)object, key, item)
        if (strlen(key) > widest) widest = strlen(key);
    json_object_foreach((json_t *)(uintptr_t)object, key, item) {
        fprintf(out, "%*s", 2 * depth, "");
        print_word(out, key);
        fprintf(out, "%*s", (int)(widest - strlen(key)) + 2, "");
        print_value(out, item, depth + 1);
    }
}

/* The value that follows a key on its line, and the line's end. */
static void print_value(FILE *out, const json_t *value, int depth)
{
    if (json_is_object(value) && !is_flat(value)) {
        fputc('\n', out);
        print_items(out, value, depth);
        return;
    }
    if (json_is_array(value) && !is_flat(value)) {
        size_t i;
        json_t *item;
        fputc('\n', out);
        json_array_foreach(value, i, item) {
            fprintf(out, "%*s", 2 * depth, "");
            print_value(out, item, depth + 1);
        }
        return;
    }
    if (json_is_object(value) || json_is_array(value))
        print_flat(out, value);
    else if (json_is_string(value))
        fputs(json_string_value(value), out); /* may have several lines: the settings of a picture */
    else
        print_scalar(out, value);
    fputc('\n', out);
}

json_t *report_string(const char *value)
{
    json_t *whole = json_string(value);
    if (whole) return whole;
    char *tidied = mem_printf("%s", value);
    if (!tidied) return NULL;
    utf8_tidy(tidied, true);
    whole = json_string(tidied);
    mem_free(tidied);
    return whole;
}

json_t *report_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

leco_status report_text(const json_t *document, bool json, char **text, leco_error *err)
{
    char *buffer = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&buffer, &size);
    if (!out) return error_memory(err, 0, "a report");
    bool failed = false;
    if (json)
        failed = json_dumpf(document, out, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) != 0 || fputc('\n', out) == EOF;
    else
        print_items(out, document, 0);
    failed = fclose(out) != 0 || failed;
    if (!failed && !json) utf8_tidy(buffer, true);
    char *copy = failed ? NULL : json ? utf8_escape_json(buffer) : mem_strdup(buffer); /* leco_free is not free */
    free(buffer);
    if (!copy) return error_memory(err, size, "a report");
    *text = copy;
    return LECO_OK;
}
