#include "model/model_place.h"

#include <dirent.h>
#include <stdbool.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "format/tensors.h"
#include "model/checkpoint.h"
#include "model/hub.h"

/* The checkpoints of a folder. */
typedef struct listing {
    char *first, *second; /* by name; NULL: no such */
    size_t count;
    char *dangling; /* a link that might have been one */
} listing;

static void listing_free(listing *l)
{
    mem_free(l->first);
    mem_free(l->second);
    mem_free(l->dangling);
}

/* Is it a checkpoint, rather than a LoRA or the like? */
static leco_status is_one(const char *path, bool *is, leco_error *err)
{
    safetensors *file;
    const leco_status status = tensors_open(path, &file, err);
    *is = status == LECO_OK && checkpoint_is(file);
    if (status == LECO_OK) safetensors_close(file);
    return status == LECO_MEMORY ? status : LECO_OK;
}

/* Takes the path. */
static void keep(listing *l, char *path)
{
    l->count++;
    if (!l->first || strcmp(path, l->first) < 0) {
        char *other = l->first;
        l->first = path;
        path = other;
    }
    if (path && (!l->second || strcmp(path, l->second) < 0)) {
        char *other = l->second;
        l->second = path;
        path = other;
    }
    mem_free(path);
}

static leco_status look_at(listing *l, const char *folder, const char *name, leco_error *err)
{
    char *path = file_join(folder, name);
    bool is = false;
    if (!path) return error_memory(err, strlen(name), "a path");
    if (file_is_dangling(path) && !l->dangling) {
        l->dangling = path;
        return LECO_OK;
    }
    leco_status status = file_exists(path) && !file_is_folder(path) ? is_one(path, &is, err) : LECO_OK;
    if (status == LECO_OK && is)
        keep(l, path);
    else
        mem_free(path);
    return status;
}

/* Of the files that end so. */
static leco_status list(listing *l, const char *folder, const char *end, leco_error *err)
{
    DIR *entries = opendir(folder);
    leco_status status = LECO_OK;
    for (struct dirent *entry; entries && status == LECO_OK && (entry = readdir(entries));)
        if (file_ends_in(entry->d_name, end)) status = look_at(l, folder, entry->d_name, err);
    if (entries) closedir(entries);
    return status;
}

static const char *name_in(const char *path)
{
    return strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
}

/* *file is NULL where there is none: whoever opens the folder says what it lacks. */
static leco_status only_checkpoint(const char *folder, char **file, leco_error *err)
{
    listing l = {0};
    *file = NULL;
    leco_status status = list(&l, folder, ".safetensors", err);
    if (status == LECO_OK && l.count == 0) status = list(&l, folder, ".ckpt", err);
    if (status == LECO_OK && l.count > 1) {
        status = error_set(err, LECO_INVALID,
                           "%s: has no model_index.json, but %zu checkpoints, %s and %s%s: give one of these files",
                           folder, l.count, name_in(l.first), name_in(l.second), l.count > 2 ? " among them" : "");
    } else if (status == LECO_OK && (l.first || l.dangling)) {
        *file = mem_strdup(l.first ? l.first : l.dangling);
        if (!*file) status = error_memory(err, strlen(folder), "a path");
    }
    listing_free(&l);
    return status;
}

leco_status model_find(const char *path, char **out, leco_error *err)
{
    char *place = NULL, *file = NULL;
    LECO_TRY(hub_find(path, &place, err));
    if (!place) place = mem_strdup(path);
    char *index = place ? file_join(place, "model_index.json") : NULL;
    leco_status status = index ? LECO_OK : error_memory(err, strlen(path), "a path");
    if (status == LECO_OK && file_is_folder(place) && !file_exists(index) && !file_is_dangling(index))
        status = only_checkpoint(place, &file, err);
    mem_free(index);
    if (status == LECO_OK) *out = file ? file : place;
    if (status != LECO_OK || file) mem_free(place);
    return status;
}
