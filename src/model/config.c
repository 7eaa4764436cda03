#include "model/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

leco_status config_open(const char *folder, const char *name, char **path, json_t **root, leco_error *err)
{
    char *joined = file_join(folder, name);
    if (!joined) return error_memory(err, strlen(folder), "a path");
    json_t *object = NULL;
    leco_status status = json_read_file(joined, &object, err);
    if (status == LECO_OK && !json_is_object(object)) {
        status = error_set(err, LECO_FORMAT, "%s: expected a JSON object", joined);
        json_decref(object);
    }
    if (status != LECO_OK) {
        mem_free(joined);
        return status;
    }
    *path = joined;
    *root = object;
    return LECO_OK;
}

leco_status config_refuse(const json_t *value, const char *path, const char *key, const char *supported,
                          leco_error *err)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    leco_status status = error_set(err, LECO_UNSUPPORTED, "%s: key \"%s\": %.200s is not supported (leco can do %s)",
                                   path, key, text ? text : "this value", supported);
    free(text);
    return status;
}

/* Is `text` one of the alternatives in `only`? */
static bool listed(const char *only, const char *text)
{
    size_t length = strlen(text);
    for (const char *p = only; p;) {
        const char *end = strchr(p, '|');
        size_t part = end ? (size_t)(end - p) : strlen(p);
        if (part == length && memcmp(p, text, part) == 0) return true;
        p = end ? end + 1 : NULL;
    }
    return false;
}

static leco_status check_key(const json_t *value, const char *path, const char *key, const config_rule *rules,
                             leco_error *err)
{
    if (key[0] == '_' || json_is_null(value)) return LECO_OK;
    const config_rule *rule = rules;
    while (rule->key && strcmp(rule->key, key) != 0) rule++;
    if (!rule->key) return json_is_false(value) ? LECO_OK : config_refuse(value, path, key, "without that key", err);
    if (!rule->only) return LECO_OK;
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    bool good = text && listed(rule->only, text);
    free(text);
    return good ? LECO_OK : config_refuse(value, path, key, rule->only, err);
}

leco_status config_check(const json_t *root, const char *path, const char *class_name, const config_rule *rules,
                         leco_error *err)
{
    const char *class_found;
    LECO_TRY(json_get_string(root, path, "_class_name", class_name, &class_found, err));
    if (strcmp(class_found, class_name) != 0)
        return error_set(err, LECO_UNSUPPORTED, "%s: key \"_class_name\": expected \"%s\", found \"%s\"", path,
                         class_name, class_found);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)root, key, value) LECO_TRY(check_key(value, path, key, rules, err));
    return LECO_OK;
}

leco_status config_get_ints(const json_t *root, const char *path, const char *key, int64_t fallback, int64_t low,
                            int64_t high, int64_t *out, int64_t count, leco_error *err)
{
    const json_t *value = json_object_get(root, key);
    if (!json_is_array(value)) {
        int64_t number = 0;
        LECO_TRY(json_get_int(root, path, key, fallback, low, high, &number, err));
        for (int64_t i = 0; i < count; i++) out[i] = number;
        return LECO_OK;
    }
    if (json_array_size(value) != (size_t)count)
        return error_set(err, LECO_INVALID, "%s: key \"%s\": expected %lld values, found %zu", path, key,
                         (long long)count, json_array_size(value));
    for (int64_t i = 0; i < count; i++) {
        const json_t *element = json_array_get(value, (size_t)i);
        int64_t number = json_is_integer(element) ? json_integer_value(element) : low - 1;
        if (number < low || number > high)
            return error_set(err, LECO_INVALID, "%s: key \"%s\": element %lld is not an integer from %lld to %lld",
                             path, key, (long long)i, (long long)low, (long long)high);
        out[i] = number;
    }
    return LECO_OK;
}

leco_status config_get_number(const json_t *root, const char *path, const char *key, double fallback, double low,
                              double high, float *out, leco_error *err)
{
    double value = fallback;
    LECO_TRY(json_get_double(root, path, key, fallback, &value, err));
    if (!(value >= low && value <= high))
        return error_set(err, LECO_INVALID, "%s: key \"%s\": expected a number from %g to %g, found %g", path, key, low,
                         high, value);
    *out = (float)value;
    return LECO_OK;
}

leco_status config_get_length(const json_t *root, const char *path, const char *key, int64_t most, int64_t *out,
                              leco_error *err)
{
    const json_t *value = json_object_get(root, key);
    size_t size = json_array_size(value);
    if (!json_is_array(value) || size == 0 || size > (size_t)most)
        return error_set(err, LECO_INVALID, "%s: key \"%s\": expected a list of 1 to %lld values", path, key,
                         (long long)most);
    *out = (int64_t)size;
    return LECO_OK;
}
