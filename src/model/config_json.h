/* Reading a component's config.json strictly: what leco can't do is refused by file, key and value. */
#ifndef LECO_MODEL_CONFIG_JSON_H
#define LECO_MODEL_CONFIG_JSON_H

#include "format/json.h"

/* A key that leco knows. `only` is NULL where any value will do, because leco reads it or doesn't need it; "*" and what
 * is expected ("*a number") where leco reads it and null, which isn't absence to Python, would be another thing than
 * the default; otherwise the JSON texts, separated by '|', of the values that leco can do (numbers are compared as
 * numbers).
 */
typedef struct config_key {
    const char *key;
    const char *only;
} config_key;

/* What becomes of a key that is neither known nor null or false: a model's may change what it computes, elsewhere
 * diffusers and transformers themselves pass over what they don't know, with a warning. What is nearly a key whose
 * value counts ("Beta_end") is refused everywhere. */
typedef enum config_unknown { CONFIG_REFUSE_UNKNOWN, CONFIG_WARN_OF_UNKNOWN } config_unknown;

/* Opens FOLDER/name; *path (mem_free it) and *root (json_decref it) are set on success only. */
leco_status config_open(const char *folder, const char *name, char **path, json_t **root, leco_error *err);

/* Takes what it knows from an open object into `out`. */
typedef leco_status config_reader(const json_t *root, const char *path, void *out, leco_error *err);
/* Opens FOLDER/name, lets `read` take from it, and closes it. */
leco_status config_read(const char *folder, const char *name, config_reader *read, void *out, leco_error *err);

/* LECO_UNSUPPORTED for a value that a row does not allow. Keys that start with '_' are comments. keys end with a NULL
 * key. */
leco_status config_check(const json_t *root, const char *path, const config_key *keys, config_unknown unknown,
                         leco_error *err);

/* The same for a diffusers model: `_class_name`, where it is given, must be class_name, or Flax's; unknown keys are
 * refused. */
leco_status config_check_model(const json_t *root, const char *path, const char *class_name, const config_key *keys,
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
