/* Where the files are that a config names. */
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/hub.h"
#include "train/config_internal.h"

/* A relative path from the file's folder: "out", not "./out", beside one that was named without a folder. */
static leco_status beside(const train_config *c, const char *file, const char *path, const char **out, leco_error *err)
{
    char *folder = file_folder_of(file);
    while (path[0] == '.' && path[1] == '/') path += 2 + strspn(path + 2, "/");
    char *joined = folder ? file_join(strcmp(folder, ".") == 0 ? "" : folder, path) : NULL;
    *out = joined ? arena_strdup(c->memory, joined) : NULL;
    mem_free(folder);
    mem_free(joined);
    return *out ? LECO_OK : error_memory(err, strlen(path), "a path");
}

leco_status config_beside(const train_config *c, const char *path, const char **out, leco_error *err)
{
    return beside(c, c->path, path, out, err);
}

/* What is read is looked for beside the config, beside its prompts file, where sd-scripts looks, then in the working
 * directory, where P1atdev's trainer looks. Found in none of these, it stays beside the config. */
leco_status config_find(train_config *c, const char *path, const char **out, leco_error *err)
{
    const char *other = NULL;
    LECO_TRY(config_beside(c, path, out, err));
    if (file_exists(*out)) return LECO_OK;
    if (c->prompts_found) LECO_TRY(beside(c, c->prompts_found, path, &other, err));
    if (other && file_exists(other)) {
        *out = other;
        return LECO_OK;
    }
    if (!file_exists(path)) return LECO_OK;
    c->in_working_directory = true;
    *out = path;
    return LECO_OK;
}

leco_status config_find_model(train_config *c, const char *path, const char **out, leco_error *err)
{
    char *cached = NULL;
    LECO_TRY(config_find(c, path, out, err));
    if (!file_exists(*out)) LECO_TRY(hub_find(path, &cached, err));
    if (!cached) return LECO_OK;
    *out = arena_strdup(c->memory, cached);
    mem_free(cached);
    return *out ? LECO_OK : error_memory(err, strlen(path), "a path");
}

leco_status train_config_check_place(const char *place, const char *key, const char *path, const char *written,
                                     leco_error *err)
{
    if (file_exists(path) || file_is_dangling(path)) return LECO_OK;
    const leco_status missing = train_config_missing(place, key, path, written, err);
    const char *hint = hub_hint(written);
    return err ? error_set(err, missing, "%s%s", err->message, hint) : missing;
}

leco_status train_config_missing(const char *place, const char *key, const char *path, const char *written,
                                 leco_error *err)
{
    const bool other_place = written[0] != '/' && strcmp(path, written) != 0;
    return error_set(err, LECO_IO, "%s: %s: there is no %s%s%s%s", place, key, path,
                     other_place ? ", and in the working directory no " : "", other_place ? written : "",
                     other_place ? " either" : "");
}
