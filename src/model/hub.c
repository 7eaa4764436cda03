#include "model/hub.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";

static const char *variable(const char *name)
{
    const char *text = getenv(name);
    return text && *text ? text : NULL;
}

/* The length of "org/name" at the beginning, two words of letters, digits and -_. as the hub has them; 0: there is
 * none. What follows, if anything, is a file of that repository: "/folder/x.safetensors". */
static size_t name_length(const char *name)
{
    const size_t org = strspn(name, letters);
    if (org == 0 || name[org] != '/' || name[0] == '.' || name[org + 1] == '.') return 0;
    const size_t rest = strspn(name + org + 1, letters), length = org + 1 + rest;
    if (rest == 0 || (name[length] && (name[length] != '/' || !name[length + 1]))) return 0;
    return strstr(name + length, "..") ? 0 : length;
}

/* A folder of the environment's, in which a ~ at the beginning is the user's home; with what follows it. */
static char *in_folder(const char *folder, const char *rest)
{
    const char *home = variable("HOME");
    const bool short_for_home = home && folder[0] == '~' && (!folder[1] || folder[1] == '/');
    return mem_printf("%s%s%s", short_for_home ? home : "", short_for_home ? folder + 1 : folder, rest);
}

/* In the order in which huggingface_hub goes by them. NULL: out of memory, or nobody knows where the cache is. */
static char *cache_folder(void)
{
    static const struct {
        const char *variable, *rest;
    } places[] = {{"HF_HUB_CACHE", ""},
                  {"HUGGINGFACE_HUB_CACHE", ""},
                  {"HF_HOME", "/hub"},
                  {"XDG_CACHE_HOME", "/huggingface/hub"},
                  {"HOME", "/.cache/huggingface/hub"}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const char *folder = variable(places[i].variable);
        if (folder) return in_folder(folder, places[i].rest);
    }
    return NULL;
}

/* The cache's folder of a repository, whose name has that length. */
static char *folder_of(const char *name, size_t length)
{
    const char *slash = strchr(name, '/');
    char *cache = cache_folder();
    const int org = (int)(slash - name), rest = (int)(length - (size_t)org - 1);
    char *folder = cache ? mem_printf("%s/models--%.*s--%.*s", cache, org, name, rest, slash + 1) : NULL;
    mem_free(cache);
    return folder;
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
    const size_t length = name_length(name);
    if (length == 0) return "";
    if (!name[length]) return ", nor is a model of that name in Hugging Face's cache, and leco downloads nothing";
    char *folder = folder_of(name, length);
    const bool is_there = folder && file_is_folder(folder);
    mem_free(folder);
    return is_there ? ", nor is it in Hugging Face's cache of that repository, and leco downloads nothing" : "";
}

/* What a name of the hub's means, within the cache's folder of its repository. */
static leco_status find_within(const char *folder, const char *rest, char **path, leco_error *err)
{
    LECO_TRY(snapshot_of(folder, path, err));
    if (!*path || !*rest) return LECO_OK;
    char *file = file_join(*path, rest + 1);
    mem_free(*path);
    *path = file;
    if (!file) return error_memory(err, strlen(rest), "a path");
    if (file_exists(file) || file_is_dangling(file)) return LECO_OK;
    mem_free(file);
    *path = NULL;
    return LECO_OK;
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
    const size_t length = name_length(name);
    if (file_exists(name) || length == 0) return LECO_OK;
    char *folder = folder_of(name, length);
    if (!folder) return LECO_OK;
    leco_status status = file_is_folder(folder) ? find_within(folder, name + length, path, err) : LECO_OK;
    mem_free(folder);
    return status;
}
