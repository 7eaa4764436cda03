#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

/* ---- reading ---- */

static int open_retry(const char *path, int flags, mode_t mode)
{
    int fd;
    do fd = open(path, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

leco_status file_map_open(const char *path, file_map *map, leco_error *err)
{
    *map = (file_map){0};
    int fd = open_retry(path, O_RDONLY | O_NONBLOCK, 0); /* non-blocking: opening a FIFO would wait for a writer */
    if (fd < 0) return error_errno(err, path, "cannot open", errno);
    struct stat info;
    leco_status status = LECO_OK;
    if (fstat(fd, &info) != 0) {
        status = error_errno(err, path, "cannot examine", errno);
    } else if (!S_ISREG(info.st_mode)) {
        status = error_set(err, LECO_IO, "%s: is %s, not a file", path, S_ISDIR(info.st_mode) ? "a folder" : "special");
    } else if ((uintmax_t)info.st_size > SIZE_MAX) {
        status = error_set(err, LECO_IO, "%s: too large to map", path);
    } else if (info.st_size > 0) {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED)
            status = error_errno(err, path, "cannot map", errno);
        else
            *map = (file_map){data, (size_t)info.st_size};
    }
    close(fd);
    return status;
}

void file_map_close(file_map *map)
{
    if (map->data) munmap((void *)(uintptr_t)map->data, map->size); /* munmap takes no const */
    *map = (file_map){0};
}

/* Reads to the end, growing the buffer; pipes have no size to ask for. */
static leco_status read_all(int fd, const char *path, size_t limit, char **text, size_t *size, leco_error *err)
{
    size_t capacity = 0, used = 0;
    for (;;) {
        if (used + 1 >= capacity) {
            size_t wanted = capacity ? capacity * 2 : 4096;
            char *grown = wanted > capacity ? mem_realloc(*text, wanted, 1) : NULL;
            if (!grown) return error_memory(err, wanted, path);
            *text = grown;
            capacity = wanted;
        }
        ssize_t got = read(fd, *text + used, capacity - used - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_errno(err, path, "cannot read", errno);
        if (got == 0) break;
        used += (size_t)got;
        if (used > limit) return error_set(err, LECO_FORMAT, "%s: is longer than %zu bytes", path, limit);
    }
    (*text)[used] = '\0';
    *size = used;
    return LECO_OK;
}

leco_status file_read_text(const char *path, size_t limit, char **text, size_t *size, leco_error *err)
{
    char *buffer = NULL;
    size_t used = 0;
    *text = NULL;
    if (size) *size = 0;
    int fd = open_retry(path, O_RDONLY, 0);
    if (fd < 0) return error_errno(err, path, "cannot open", errno);
    leco_status status = read_all(fd, path, limit, &buffer, &used, err);
    close(fd);
    if (status != LECO_OK) {
        mem_free(buffer);
        return status;
    }
    *text = buffer;
    if (size) *size = used;
    return LECO_OK;
}

/* ---- atomic replacement ---- */

struct file_writer {
    char *path;      /* as the caller gave it, for messages */
    char *target;    /* what is replaced: `path` with links followed */
    char *folder;    /* that `target` is in */
    char *temporary; /* in `folder`; exists while fd >= 0 */
    int fd;
    bool failed; /* a write failed: the bytes are not whole */
};

static void writer_free(file_writer *w)
{
    mem_free(w->path);
    mem_free(w->target);
    mem_free(w->folder);
    mem_free(w->temporary);
    mem_free(w);
}

/* A link is followed, so that the file it points to is replaced rather than the link. Anything but a file is refused:
 * renaming over /dev/null would take it away from everybody. */
static leco_status find_target(file_writer *w, leco_error *err)
{
    struct stat info;
    if (stat(w->path, &info) != 0) {
        if (errno != ENOENT || !*w->path) return error_errno(err, w->path, "cannot write", errno);
        w->target = mem_strdup(w->path);
    } else if (!S_ISREG(info.st_mode)) {
        return error_set(err, LECO_IO, "%s: cannot write: is %s, not a file", w->path,
                         S_ISDIR(info.st_mode) ? "a folder" : "special");
    } else {
        char *resolved = realpath(w->path, NULL);
        if (!resolved) return error_errno(err, w->path, "cannot resolve", errno);
        w->target = mem_strdup(resolved);
        free(resolved);
    }
    return w->target ? LECO_OK : error_memory(err, strlen(w->path), w->path);
}

static leco_status open_temporary(file_writer *w, leco_error *err)
{
    static _Atomic unsigned serial;
    w->folder = file_folder_of(w->target);
    if (!w->folder) return error_memory(err, strlen(w->target), w->path);
    do { /* a name that is taken was left by a killed process with our number */
        mem_free(w->temporary);
        w->temporary = mem_printf("%s/.leco-%ld-%u.tmp", w->folder, (long)getpid(), atomic_fetch_add(&serial, 1));
        if (!w->temporary) return error_memory(err, strlen(w->folder), w->path);
        w->fd = open_retry(w->temporary, O_WRONLY | O_CREAT | O_EXCL, 0666);
    } while (w->fd < 0 && errno == EEXIST);
    return w->fd < 0 ? error_errno(err, w->path, "cannot create", errno) : LECO_OK;
}

leco_status file_writer_open(const char *path, file_writer **out, leco_error *err)
{
    *out = NULL;
    file_writer *w = mem_calloc(1, sizeof *w);
    if (!w) return error_memory(err, sizeof *w, path);
    w->fd = -1;
    w->path = mem_strdup(path);
    leco_status status = w->path ? LECO_OK : error_memory(err, strlen(path), path);
    if (status == LECO_OK) status = find_target(w, err);
    if (status == LECO_OK) status = open_temporary(w, err);
    if (status != LECO_OK) {
        writer_free(w);
        return status;
    }
    *out = w;
    return LECO_OK;
}

leco_status file_writer_write(file_writer *w, const void *data, size_t size, leco_error *err)
{
    const size_t largest = (size_t)1 << 30; /* Linux writes at most 2 GiB at once */
    const unsigned char *bytes = data;
    while (size > 0) {
        ssize_t written = write(w->fd, bytes, size < largest ? size : largest);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) {
            w->failed = true;
            return error_errno(err, w->path, "cannot write", errno);
        }
        bytes += written;
        size -= (size_t)written;
    }
    return LECO_OK;
}

void file_writer_abort(file_writer *w)
{
    if (!w) return;
    if (w->fd >= 0) close(w->fd);
    unlink(w->temporary);
    writer_free(w);
}

/* Without this the new name may be lost in a power cut. Folders that can't be opened or synced (not readable; some
 * network file systems) are let pass: the data themselves are on disk already. */
static leco_status sync_folder(const file_writer *w, leco_error *err)
{
    int fd = open_retry(w->folder, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) return LECO_OK;
    leco_status status = LECO_OK;
    if (fsync(fd) != 0 && errno == EIO) status = error_errno(err, w->path, "cannot sync its folder", errno);
    close(fd);
    return status;
}

leco_status file_writer_commit(file_writer *w, leco_error *err)
{
    leco_status status = LECO_OK;
    if (w->failed)
        status = error_set(err, LECO_IO, "%s: cannot commit: an earlier write failed", w->path);
    else if (fsync(w->fd) != 0)
        status = error_errno(err, w->path, "cannot flush to disk", errno);
    int closed = close(w->fd);
    w->fd = -1;
    if (status == LECO_OK && closed != 0) status = error_errno(err, w->path, "cannot close", errno);
    if (status == LECO_OK && rename(w->temporary, w->target) != 0)
        status = error_errno(err, w->path, "cannot rename the temporary file", errno);
    if (status != LECO_OK) {
        file_writer_abort(w);
        return status;
    }
    status = sync_folder(w, err);
    writer_free(w);
    return status;
}

/* ---- paths ---- */

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

leco_status file_make_folders(const char *path, leco_error *err)
{
    char *partial = mem_strdup(path);
    if (!partial) return error_memory(err, strlen(path), path);
    leco_status status = LECO_OK;
    for (char *p = partial; status == LECO_OK && *p;) {
        p += strspn(p, "/");
        p += strcspn(p, "/");
        char kept = *p;
        *p = '\0';
        /* Another process may make it at the same time; and mkdir on a read-only disk fails although it is there. */
        int number = mkdir(partial, 0777) != 0 ? errno : 0;
        if (number != 0 && !file_is_folder(partial))
            status = error_errno(err, path, "cannot make the folder", number == EEXIST ? ENOTDIR : number);
        *p = kept;
    }
    mem_free(partial);
    return status;
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
