#include "model/hub.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

static const char *or_null(const char *text)
{
    return text && *text ? text : NULL;
}

/* "org/name": two words of letters, digits and -_. as the hub has them. */
static bool is_name(const char *name)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    const char *slash = strchr(name, '/');
    if (!slash || slash == name || !slash[1] || name[0] == '.' || slash[1] == '.') return false;
    return name + strspn(name, plain) == slash && slash[1 + strspn(slash + 1, plain)] == '\0';
}

/* The cache's folder of a model; NULL: out of memory, or nobody knows where the cache is. */
static char *folder_of(const char *name)
{
    const char *cache = or_null(getenv("HF_HUB_CACHE")), *home = or_null(getenv("HF_HOME"));
    const char *user = or_null(getenv("HOME")), *slash = strchr(name, '/');
    const int length = (int)(slash - name);
    if (cache) return mem_printf("%s/models--%.*s--%s", cache, length, name, slash + 1);
    if (home) return mem_printf("%s/hub/models--%.*s--%s", home, length, name, slash + 1);
    return user ? mem_printf("%s/.cache/huggingface/hub/models--%.*s--%s", user, length, name, slash + 1) : NULL;
}

/* The only folder in snapshots/, where refs/main doesn't say which; NULL: none, or several. */
static char *only_snapshot(const char *snapshots)
{
    DIR *listing = opendir(snapshots);
    char *found = NULL;
    int count = 0;
    for (struct dirent *entry; listing && (entry = readdir(listing));) {
        if (entry->d_name[0] == '.') continue;
        mem_free(found);
        found = count++ == 0 ? file_join(snapshots, entry->d_name) : NULL;
    }
    if (listing) closedir(listing);
    return found;
}

/* The snapshot that refs/main names. */
static leco_status snapshot_of(const char *folder, char **path, leco_error *err)
{
    enum { LONGEST = 200 };
    char *ref = mem_printf("%s/refs/main", folder), *snapshots = mem_printf("%s/snapshots", folder), *text = NULL;
    leco_status status = ref && snapshots ? LECO_OK : error_memory(err, strlen(folder), "a path");
    if (status == LECO_OK && file_exists(ref)) status = file_read_text(ref, LONGEST, &text, NULL, err);
    if (status == LECO_OK && text) {
        text[strcspn(text, " \t\r\n")] = '\0';
        const bool plain = *text && !strchr(text, '/') && *text != '.';
        *path = plain ? file_join(snapshots, text) : NULL;
        if (plain && !*path) status = error_memory(err, strlen(folder), "a path");
    }
    if (status == LECO_OK && !*path && file_is_folder(snapshots)) *path = only_snapshot(snapshots);
    if (*path && !file_is_folder(*path)) {
        mem_free(*path);
        *path = NULL;
    }
    mem_free(text);
    mem_free(snapshots);
    mem_free(ref);
    return status;
}

const char *hub_hint(const char *name)
{
    return is_name(name) ? ", nor is a model of that name in Hugging Face's cache, and leco downloads nothing" : "";
}

leco_status hub_find(const char *name, char **path, leco_error *err)
{
    *path = NULL;
    if (file_is_folder(name)) { /* models--org--name itself */
        char *snapshots = mem_printf("%s/snapshots", name);
        if (!snapshots) return error_memory(err, strlen(name), "a path");
        const bool is_cache = file_is_folder(snapshots);
        mem_free(snapshots);
        return is_cache ? snapshot_of(name, path, err) : LECO_OK;
    }
    if (file_exists(name) || !is_name(name)) return LECO_OK;
    char *folder = folder_of(name);
    if (!folder) return LECO_OK;
    leco_status status = file_is_folder(folder) ? snapshot_of(folder, path, err) : LECO_OK;
    mem_free(folder);
    return status;
}
