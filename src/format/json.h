/* Typed access to JSON files (config.json and the like) over jansson, with errors that name file and key. */
#ifndef LECO_FORMAT_JSON_H
#define LECO_FORMAT_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Parses a file of at most 64 MiB; syntax errors (LECO_FORMAT) give path:line:column. A key that stands twice in one
 * object is a syntax error. Python's NaN, Infinity and -Infinity, integers beyond 64 bits and numbers beyond doubles
 * are values of no use (to jansson they are strings): no getter takes them for an integer, a boolean or a string, and
 * json_get_double only takes those that a double holds. Release with json_decref. */
leco_status json_read_file(const char *path, json_t **out, leco_error *err);

/* json_loadb with the same understanding of numbers. */
json_t *json_parse(const char *text, size_t size, size_t flags, json_error_t *problem);

/* Is it a string, and none that stands for such a number? */
bool json_is_text(const json_t *value);

/* What a value looks like in a file, in one line and with no more digits than it takes ("1.4142"); what is longer than
 * `capacity` (at least 32) is told by its kind. Returns `text` or a constant. */
const char *json_describe(const json_t *value, char *text, size_t capacity);

/* As few digits as give the number back; text has room for 32. Returns text. */
const char *json_number(double value, char *text);

/* Whether jansson failed for want of memory: it often sets no error text then, and no code. */
bool json_lacks_memory(const json_error_t *problem);

/* Getters: *out becomes the key's value, or `fallback` where it is absent or null, or where `object` is NULL. A value
 * of the wrong type or out of [low, high], and an `object` that is none, are LECO_INVALID with "PATH: key \"KEY\":
 * expected ..., found ...". `path` is for the message. */
leco_status json_get_int(const json_t *object, const char *path, const char *key, int64_t fallback, int64_t low,
                         int64_t high, int64_t *out, leco_error *err);
leco_status json_get_double(const json_t *object, const char *path, const char *key, double fallback, double *out,
                            leco_error *err);
leco_status json_get_bool(const json_t *object, const char *path, const char *key, bool fallback, bool *out,
                          leco_error *err);
/* *out points into the object (or is `fallback`). */
leco_status json_get_string(const json_t *object, const char *path, const char *key, const char *fallback,
                            const char **out, leco_error *err);

#endif
