/* Reading a component's config.json strictly: what leco can't do is refused by file, key and value. */
#ifndef LECO_MODEL_CONFIG_H
#define LECO_MODEL_CONFIG_H

#include "format/json.h"

/* A key that leco knows. `only` is NULL where the value is read (or doesn't matter), otherwise the JSON texts,
 * separated by '|', of the values that leco can do; null and absence always pass. */
typedef struct config_rule {
    const char *key;
    const char *only;
} config_rule;

/* Opens FOLDER/config.json; *path (mem_free it) and *root (json_decref it) are set on success only. */
leco_status config_open(const char *folder, const char *name, char **path, json_t **root, leco_error *err);

/* LECO_UNSUPPORTED where `_class_name` isn't `class_name`, a rule is broken, or an unknown key has a value other than
 * null or false. Keys that start with '_' are comments. rules end with a NULL key. */
leco_status config_check(const json_t *root, const char *path, const char *class_name, const config_rule *rules,
                         leco_error *err);

/* An integer, or a list of exactly `count` integers, each in [low, high], into out[0..count). Absent: `fallback`. */
leco_status config_get_ints(const json_t *root, const char *path, const char *key, int64_t fallback, int64_t low,
                            int64_t high, int64_t *out, int64_t count, leco_error *err);

/* A number in [low, high]. */
leco_status config_get_number(const json_t *root, const char *path, const char *key, double fallback, double low,
                              double high, float *out, leco_error *err);

/* The length of a list of 1 to `most` elements. */
leco_status config_get_length(const json_t *root, const char *path, const char *key, int64_t most, int64_t *out,
                              leco_error *err);

/* LECO_UNSUPPORTED "PATH: key "KEY": VALUE is not supported (leco can do ...)". */
leco_status config_refuse(const json_t *value, const char *path, const char *key, const char *supported,
                          leco_error *err);

#endif
