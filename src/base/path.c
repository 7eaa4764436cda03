/* Paths: what is there, and what their parts are. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

bool file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool file_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool file_is_same(const char *a, const char *b)
{
    struct stat one, other;
    return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

bool file_is_dangling(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 && S_ISLNK(info.st_mode) && !file_exists(path);
}

leco_status file_refuse_open(const char *path, int number, leco_error *err)
{
    char target[1000];
    const ssize_t length = number == ENOENT ? readlink(path, target, sizeof target - 1) : -1;
    if (length < 0) return error_errno(err, path, "cannot open", number);
    target[length] = '\0';
    return error_set(err, LECO_IO, "%s: is a link to %s, which isn't there%s", path, target,
                     strstr(target, "blobs/") ? ": that download was never finished, or was cleaned away" : "");
}

char *file_join(const char *folder, const char *name)
{
    if (!folder || !*folder || *name == '/') return mem_strdup(name);
    const char *slash = folder[strlen(folder) - 1] == '/' ? "" : "/";
    return mem_printf("%s%s%s", folder, slash, name);
}

char *file_folder_of(const char *path)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--; /* "a/b/" names b, too */
    while (length > 0 && path[length - 1] != '/') length--;
    if (length == 0) return mem_strdup(".");
    while (length > 1 && path[length - 1] == '/') length--;
    return mem_strndup(path, length);
}

char *file_stem(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *dot = strrchr(name, '.');
    return mem_strndup(name, dot && dot > name ? (size_t)(dot - name) : strlen(name));
}

bool file_ends_in(const char *path, const char *end)
{
    const size_t length = strlen(path), tail = strlen(end);
    return length > tail && strcmp(path + length - tail, end) == 0;
}
