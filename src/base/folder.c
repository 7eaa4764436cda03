#include "base/folder.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

enum { DEEPEST = 8 };

/* ---- walking ---- */

typedef struct walk {
    const char *folder;
    folder_visit visit;
    void *user;
} walk;

static int not_a_dot(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* In bytes' order, whatever the locale. */
static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static leco_status walk_folder(const walk *w, const char *relative, int depth, leco_error *err);

static leco_status walk_entry(const walk *w, const char *relative, int depth, leco_error *err)
{
    struct stat info;
    char *full = file_join(w->folder, relative);
    if (!full) return error_memory(err, strlen(relative), "a path");
    leco_status status = LECO_OK;
    if (stat(full, &info) != 0)
        status = error_errno(err, full, "cannot examine", errno);
    else if (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode))
        status = error_set(err, LECO_IO, "%s: is special, neither a file nor a folder", full);
    else if (depth > DEEPEST)
        status = error_set(err, LECO_IO, "%s: lies more than %d folders deep", full, DEEPEST);
    mem_free(full);
    if (status == LECO_OK) status = w->visit(w->user, relative, S_ISDIR(info.st_mode), err);
    return status == LECO_OK && S_ISDIR(info.st_mode) ? walk_folder(w, relative, depth, err) : status;
}

static leco_status walk_folder(const walk *w, const char *relative, int depth, leco_error *err)
{
    struct dirent **entries = NULL;
    char *full = file_join(w->folder, relative);
    if (!full) return error_memory(err, strlen(relative), "a path");
    const int count = scandir(full, &entries, not_a_dot, by_bytes);
    leco_status status = count < 0 ? error_errno(err, full, "cannot list", errno) : LECO_OK;
    mem_free(full);
    for (int i = 0; i < count; i++) {
        char *inside = status == LECO_OK ? file_join(relative, entries[i]->d_name) : NULL;
        if (status == LECO_OK)
            status = inside ? walk_entry(w, inside, depth + 1, err) : error_memory(err, strlen(relative), "a path");
        mem_free(inside);
        free(entries[i]);
    }
    free(entries);
    return status;
}

leco_status folder_walk(const char *folder, folder_visit visit, void *user, leco_error *err)
{
    const walk w = {folder, visit, user};
    return walk_folder(&w, "", 0, err);
}

/* ---- writing ---- */

struct folder_writer {
    char *path, *temporary;
};

static void writer_free(folder_writer *w)
{
    mem_free(w->path);
    mem_free(w->temporary);
    mem_free(w);
}

static bool is_empty(const char *folder)
{
    DIR *listing = opendir(folder);
    bool empty = listing != NULL;
    for (const struct dirent *entry; listing && empty && (entry = readdir(listing));) empty = !not_a_dot(entry);
    if (listing) closedir(listing);
    return empty;
}

static leco_status begin(folder_writer *w, leco_error *err)
{
    struct stat info;
    const bool there = lstat(w->path, &info) == 0;
    if (there && !S_ISDIR(info.st_mode))
        return error_set(err, LECO_IO, "%s: cannot write: is there already, and not a folder", w->path);
    if (there && !is_empty(w->path))
        return error_set(
            err, LECO_IO,
            "%s: cannot write: there is a folder with something in it, and leco replaces none; give another name",
            w->path);
    char *beside = file_folder_of(w->path);
    w->temporary = beside ? mem_printf("%s/.leco-%ld.new", beside, (long)getpid()) : NULL;
    mem_free(beside);
    if (!w->temporary) return error_memory(err, strlen(w->path), "a path");
    if (mkdir(w->temporary, 0777) == 0) return LECO_OK;
    const int why = errno;
    mem_free(w->temporary);
    w->temporary = NULL; /* nothing to remove */
    return error_errno(err, w->path, "cannot write", why);
}

leco_status folder_writer_open(const char *path, folder_writer **out, leco_error *err)
{
    *out = NULL;
    folder_writer *w = mem_calloc(1, sizeof *w);
    if (w) w->path = mem_strdup(path);
    leco_status status = w && w->path ? begin(w, err) : error_memory(err, strlen(path), path);
    if (status == LECO_OK)
        *out = w;
    else
        folder_writer_abort(w);
    return status;
}

const char *folder_writer_place(const folder_writer *w)
{
    return w->temporary;
}

/* Only what is below our own temporary folder, where nobody makes links. */
static void remove_all(const char *folder)
{
    DIR *listing = opendir(folder);
    for (const struct dirent *entry; listing && (entry = readdir(listing));) {
        struct stat info;
        char *inside = not_a_dot(entry) ? file_join(folder, entry->d_name) : NULL;
        if (inside && lstat(inside, &info) == 0 && S_ISDIR(info.st_mode))
            remove_all(inside);
        else if (inside)
            unlink(inside);
        mem_free(inside);
    }
    if (listing) closedir(listing);
    rmdir(folder);
}

void folder_writer_abort(folder_writer *w)
{
    if (!w) return;
    if (w->temporary) remove_all(w->temporary);
    writer_free(w);
}

leco_status folder_writer_commit(folder_writer *w, leco_error *err)
{
    if (rename(w->temporary, w->path) == 0) { /* an empty folder makes way */
        writer_free(w);
        return LECO_OK;
    }
    leco_status status = error_errno(err, w->path, "cannot rename the new folder", errno);
    folder_writer_abort(w);
    return status;
}

leco_status folder_copy_file(const char *from, const char *to, leco_error *err)
{
    file_map map;
    file_writer *w;
    struct stat info;
    LECO_TRY(file_map_open(from, &map, err));
    leco_status status = file_writer_open(to, &w, err);
    if (status == LECO_OK) {
        status = file_writer_write(w, map.data, map.size, err);
        if (status == LECO_OK)
            status = file_writer_commit(w, err);
        else
            file_writer_abort(w);
    }
    file_map_close(&map);
    if (status == LECO_OK && stat(from, &info) == 0) (void)chmod(to, (info.st_mode & 0777) | 0200);
    return status;
}

/* ---- where a path lies ---- */

static bool holds_path(const char *folder, const char *path)
{
    char *outer = realpath(folder, NULL), *at = mem_strdup(path), *inner = NULL;
    while (outer && at && !(inner = realpath(at, NULL))) { /* the nearest folder that is there */
        char *above = file_folder_of(at);
        if (above && strcmp(above, at) == 0) break;
        mem_free(at);
        at = above;
    }
    const size_t length = outer ? strlen(outer) : 0;
    const bool holds = outer && inner && strncmp(inner, outer, length) == 0 &&
                       (inner[length] == '\0' || inner[length] == '/' || length == 1);
    free(outer);
    free(inner);
    mem_free(at);
    return holds;
}

leco_status folder_refuse_inside(const char *folder, const char *path, leco_error *err)
{
    if (!holds_path(folder, path)) return LECO_OK;
    return error_set(err, LECO_INVALID, "%s: lies in the model's own folder, %s; give another place", path, folder);
}
