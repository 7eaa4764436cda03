#include "model/config_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/suggest.h"

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

leco_status config_read(const char *folder, const char *name, config_reader *read, void *out, leco_error *err)
{
    char *path;
    json_t *root;
    LECO_TRY(config_open(folder, name, &path, &root, err));
    leco_status status = read(root, path, out, err);
    json_decref(root);
    mem_free(path);
    return status;
}

leco_status config_refuse(const json_t *value, const char *path, const char *key, const char *supported,
                          leco_error *err)
{
    char text[200];
    return error_set(err, LECO_UNSUPPORTED, "%s: key \"%s\": %s is not supported (leco can do %s)", path, key,
                     json_describe(value, text, sizeof text), supported);
}

/* The next of the alternatives in `only`, from *at on; *length is 0 after the last. */
static const char *next_alternative(const char **at, size_t *length)
{
    const char *part = *at;
    *length = strcspn(part, "|");
    *at = part + *length + (part[*length] == '|');
    return part;
}

/* Is the value one of the alternatives in `only`? */
static bool allowed(const char *only, const json_t *value)
{
    if (only[0] == '*') return !json_is_null(value);
    char text[100];
    const char *found = json_describe(value, text, sizeof text), *part;
    size_t length;
    while ((part = next_alternative(&only, &length)), length) {
        if (strlen(found) == length && memcmp(part, found, length) == 0) return true;
        char *end;
        double number = strtod(part, &end);
        if (end == part + length && json_is_number(value) && json_number_value(value) == number) return true;
    }
    return false;
}

/* The alternatives in words; null, which is as good as absence, is not told. */
static const char *spell(const char *only, char *text, size_t capacity)
{
    size_t used = 0, length;
    const char *part;
    text[0] = '\0';
    while ((part = next_alternative(&only, &length)), length) {
        if (length == 4 && memcmp(part, "null", 4) == 0) continue;
        int more = snprintf(text + used, capacity - used, "%s%.*s", used ? " or " : "", (int)length, part);
        if (more < 0 || (size_t)more >= capacity - used) break;
        used += (size_t)more;
    }
    return used ? text : "without that key";
}

/* Keys that training leaves in any model's config: the state of diffusers' EMAModel. */
static const config_key leftovers[] = {
    {"decay", NULL},
    {"min_decay", NULL},
    {"optimization_step", NULL},
    {"update_after_step", NULL},
    {"use_ema_warmup", NULL},
    {"inv_gamma", NULL},
    {"power", NULL},
    {"collected_params", NULL},
    {NULL, NULL},
};

static const config_key *find_key(const config_key *keys, const char *key)
{
    while (keys->key && strcmp(keys->key, key) != 0) keys++;
    return keys->key ? keys : NULL;
}

/* A key whose value counts, and that this one is nearly spelt as. */
static const char *meant(const config_key *keys, const char *key)
{
    while (keys->key && !(keys->only && suggest_misspelt(key, keys->key))) keys++;
    return keys->key;
}

static leco_status check_known(const json_t *value, const char *path, const config_key *row, leco_error *err)
{
    char text[200];
    if (!row->only || allowed(row->only, value)) return LECO_OK;
    if (row->only[0] == '*')
        return error_set(err, LECO_UNSUPPORTED, "%s: key \"%s\": expected %s, found null", path, row->key,
                         row->only + 1);
    return config_refuse(value, path, row->key, spell(row->only, text, sizeof text), err);
}

static leco_status check_key(const json_t *value, const char *path, const char *key, const config_key *keys,
                             config_unknown unknown, leco_error *err)
{
    char text[200];
    if (key[0] == '_') return LECO_OK;
    const config_key *row = find_key(keys, key);
    if (!row) row = find_key(leftovers, key);
    if (row) return check_known(value, path, row, err);
    if (json_is_null(value) || json_is_false(value)) return LECO_OK;
    const char *near = meant(keys, key);
    if (near || unknown == CONFIG_REFUSE_UNKNOWN)
        return error_set(err, LECO_UNSUPPORTED,
                         "%s: key \"%s\": %s is not supported (leco doesn't know that key%s%s%s)", path, key,
                         json_describe(value, text, sizeof text), near ? "; did you mean \"" : "", near ? near : "",
                         near ? "\"?" : "");
    log_message(LOG_WARNING, "%s: key \"%s\" is not known; ignored", path, key);
    return LECO_OK;
}

leco_status config_check(const json_t *root, const char *path, const config_key *keys, config_unknown unknown,
                         leco_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)root, key, value) {
        LECO_TRY(check_key(value, path, key, keys, unknown, err));
    }
    return LECO_OK;
}

leco_status config_check_model(const json_t *root, const char *path, const char *class_name, const config_key *keys,
                               leco_error *err)
{
    const char *found;
    LECO_TRY(json_get_string(root, path, "_class_name", class_name, &found, err));
    const bool flax = strncmp(found, "Flax", 4) == 0; /* the same module: configs are converted along with weights */
    if (strcmp(found + (flax ? 4 : 0), class_name) != 0)
        return error_set(err, LECO_UNSUPPORTED, "%s: key \"_class_name\": expected \"%s\", found \"%s\"", path,
                         class_name, found);
    return config_check(root, path, keys, CONFIG_REFUSE_UNKNOWN, err);
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
    char text[32];
    LECO_TRY(json_get_double(root, path, key, fallback, &value, err));
    if (!(value >= low && value <= high))
        return error_set(err, LECO_INVALID, "%s: key \"%s\": expected a number from %g to %g, found %s", path, key, low,
                         high, json_number(value, text));
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
