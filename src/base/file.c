#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/mem.h"

/* ---- what is mapped ---- */

/* One mapped file, for a signal handler to find: it may run at any moment, beside threads that map and unmap. Therefore
 * records are never freed, only used again, and `data` is set last and cleared first. */
typedef struct mapping {
    struct mapping *next; /* set before the record can be found */
    const unsigned char *_Atomic data;
    size_t size;
    dev_t device; /* which file it is */
    ino_t number;
    char path[1000]; /* a longer one is cut */
} mapping;

static mapping *_Atomic mappings;
static pthread_mutex_t mappings_lock = PTHREAD_MUTEX_INITIALIZER; /* held while one is taken or given back */

static leco_status mapping_add(const char *path, const file_map *map, const struct stat *info, leco_error *err)
{
    pthread_mutex_lock(&mappings_lock);
    mapping *m = atomic_load(&mappings);
    while (m && atomic_load(&m->data)) m = m->next;
    const bool fresh = !m;
    if (fresh) m = mem_calloc(1, sizeof *m);
    if (m) {
        snprintf(m->path, sizeof m->path, "%s", path);
        m->size = map->size;
        m->device = info->st_dev;
        m->number = info->st_ino;
        atomic_store(&m->data, map->data);
    }
    if (m && fresh) {
        m->next = atomic_load(&mappings);
        atomic_store(&mappings, m);
    }
    pthread_mutex_unlock(&mappings_lock);
    return m ? LECO_OK : error_memory(err, sizeof *m, path);
}

static void mapping_remove(const file_map *map)
{
    pthread_mutex_lock(&mappings_lock);
    for (mapping *m = atomic_load(&mappings); m; m = m->next)
        if (atomic_load(&m->data) == map->data) atomic_store(&m->data, NULL);
    pthread_mutex_unlock(&mappings_lock);
}

leco_status file_map_check(const file_map *map, leco_error *err)
{
    struct stat info;
    leco_status status = LECO_OK;
    pthread_mutex_lock(&mappings_lock);
    const mapping *m = atomic_load(&mappings);
    while (m && atomic_load(&m->data) != map->data) m = m->next;
    if (m && map->data && stat(m->path, &info) == 0 && info.st_dev == m->device && info.st_ino == m->number &&
        (uintmax_t)info.st_size < m->size)
        status = error_set(err, LECO_IO, "%s: became shorter while it was read", m->path);
    pthread_mutex_unlock(&mappings_lock);
    return status;
}

const char *file_mapped_at(const void *address)
{
    for (const mapping *m = atomic_load(&mappings); m; m = m->next) {
        const uintptr_t start = (uintptr_t)atomic_load(&m->data);
        if (start && (uintptr_t)address >= start && (uintptr_t)address - start < m->size) return m->path;
    }
    return NULL;
}

void file_forget(const void *address, size_t bytes)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)address / page * page;
    if (!file_mapped_at(address)) return;
    madvise((void *)from, (uintptr_t)address + bytes - from, MADV_DONTNEED); /* up to the end of its last page */
}

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
    if (fd < 0) return file_refuse_open(path, errno, err);
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
    if (map->data) status = mapping_add(path, map, &info, err);
    if (status != LECO_OK) file_map_close(map);
    return status;
}

void file_map_close(file_map *map)
{
    if (map->data) {
        mapping_remove(map);
        munmap((void *)(uintptr_t)map->data, map->size); /* munmap takes no const */
    }
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
    if (fd < 0) return file_refuse_open(path, errno, err);
    leco_status status = read_all(fd, path, limit, &buffer, &used, err);
    close(fd);
    if (status == LECO_OK && !size && strlen(buffer) != used)
        status = error_set(err, LECO_INVALID, "%s: expected a text, found a zero byte behind %zu others", path,
                           strlen(buffer));
    if (status != LECO_OK) {
        mem_free(buffer);
        return status;
    }
    *text = buffer;
    if (size) *size = used;
    return LECO_OK;
}

/* ---- atomic replacement ---- */

#define NEW_FILE ((mode_t)-1)

struct file_writer {
    char *path;      /* as the caller gave it, for messages */
    char *target;    /* what is replaced: `path` with links followed */
    char *folder;    /* that `target` is in */
    char *temporary; /* in `folder`; exists, and is locked, while fd >= 0 */
    mode_t mode;     /* of the file that is replaced, or NEW_FILE */
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

/* Where a link that points to nothing leads: there the file is made. The name itself where it is no link. */
static char *follow_link(const char *path)
{
    char *at = mem_strdup(path), text[4096];
    for (int i = 0; at && i < 40; i++) { /* as many as the kernel follows */
        ssize_t length = readlink(at, text, sizeof text - 1);
        if (length < 0) return at;
        text[length] = '\0';
        char *folder = file_folder_of(at), *next = folder ? file_join(folder, text) : NULL;
        mem_free(folder);
        mem_free(at);
        at = next;
    }
    return at;
}

/* A link is followed, so that the file it points to is replaced rather than the link. Anything but a file is refused:
 * renaming over /dev/null would take it away from everybody. So is a file that may not be written to: the folder would
 * allow it, but whoever protected the file meant something else. */
static leco_status find_target(file_writer *w, leco_error *err)
{
    struct stat info;
    if (stat(w->path, &info) != 0) {
        if (errno != ENOENT || !*w->path) return error_errno(err, w->path, "cannot write", errno);
        w->target = follow_link(w->path);
        w->mode = NEW_FILE;
    } else if (!S_ISREG(info.st_mode)) {
        return error_set(err, LECO_IO, "%s: cannot write: is %s, not a file", w->path,
                         S_ISDIR(info.st_mode) ? "a folder" : "special");
    } else if (faccessat(AT_FDCWD, w->path, W_OK, AT_EACCESS) != 0) {
        return error_errno(err, w->path, "cannot write", errno);
    } else {
        char *resolved = realpath(w->path, NULL);
        if (!resolved) return error_errno(err, w->path, "cannot resolve", errno);
        w->target = mem_strdup(resolved);
        w->mode = info.st_mode & 0777;
        free(resolved);
    }
    return w->target ? LECO_OK : error_memory(err, strlen(w->path), w->path);
}

/* ---- temporary files ---- */

/* ".leco-PROCESS-NUMBER@HOST.tmp", locked (flock) while its writer lives. A killed writer's file is unlocked: the next
 * one to write to the folder removes it. Some network file systems keep locks from other hosts, so that a file of
 * another host must also be old. */
#define TEMPORARY_START ".leco-"
#define TEMPORARY_END ".tmp"
#define HOST_SIZE 65 /* Linux has no longer names */
#define OLD_SECONDS (24 * 60 * 60)

static void host_name(char name[HOST_SIZE])
{
    if (gethostname(name, HOST_SIZE) != 0) name[0] = '\0';
    name[HOST_SIZE - 1] = '\0';
    for (char *c = name; *c; c++)
        if (*c == '/') *c = '_';
}

static bool is_temporary(const char *name, const char *host, bool *own)
{
    const size_t length = strlen(name), start = strlen(TEMPORARY_START), end = strlen(TEMPORARY_END);
    if (length < start + end || strncmp(name, TEMPORARY_START, start) != 0) return false;
    if (strcmp(name + length - end, TEMPORARY_END) != 0) return false;
    const char *at = strchr(name, '@');
    *own = at && strlen(at + 1) == strlen(host) + end && strncmp(at + 1, host, strlen(host)) == 0;
    return true;
}

static void remove_orphan(int folder, const char *name, bool own)
{
    int fd = openat(folder, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return; /* gone, or somebody else's */
    struct stat info;
    bool lockable, orphan = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && lock_file(fd, &lockable) && lockable;
    if (orphan && (own || time(NULL) - info.st_mtime > OLD_SECONDS)) unlinkat(folder, name, 0);
    close(fd);
}

/* Once in a process for each folder that is written to after another: a thousand pictures don't list it a thousand
 * times. Nothing here is worth an error. */
static void remove_orphans(const char *path)
{
    static _Atomic uint64_t clean; /* the folder that was seen last */
    char host[HOST_SIZE];
    DIR *folder = opendir(path);
    struct stat info;
    if (folder && fstat(dirfd(folder), &info) == 0) {
        const uint64_t this = (uint64_t)info.st_dev * 0x9e3779b97f4a7c15u ^ (uint64_t)info.st_ino;
        const struct dirent *entry;
        bool own;
        host_name(host);
        if (atomic_exchange(&clean, this) != this)
            while ((entry = readdir(folder)))
                if (is_temporary(entry->d_name, host, &own)) remove_orphan(dirfd(folder), entry->d_name, own);
    }
    if (folder) closedir(folder);
}

/* Makes and locks the temporary file. Between the two another process may take it for an orphan: then it is gone, or
 * locked, and the next name is tried. */
static leco_status try_temporary(file_writer *w, const char *host, bool *made, leco_error *err)
{
    static _Atomic unsigned serial;
    mem_free(w->temporary);
    w->temporary = mem_printf("%s/" TEMPORARY_START "%ld-%u@%s" TEMPORARY_END, w->folder, (long)getpid(),
                              atomic_fetch_add(&serial, 1), host);
    if (!w->temporary) return error_memory(err, strlen(w->folder), w->path);
    w->fd = open_retry(w->temporary, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (w->fd < 0) return errno == EEXIST ? LECO_OK : error_errno(err, w->path, "cannot create", errno);
    struct stat info;
    bool lockable;
    *made = lock_file(w->fd, &lockable) && (!lockable || fstat(w->fd, &info) != 0 || info.st_nlink > 0);
    if (*made) return LECO_OK;
    close(w->fd);
    w->fd = -1;
    return LECO_OK;
}

static leco_status open_temporary(file_writer *w, leco_error *err)
{
    char host[HOST_SIZE];
    bool made = false;
    w->folder = file_folder_of(w->target);
    if (!w->folder) return error_memory(err, strlen(w->target), w->path);
    remove_orphans(w->folder);
    host_name(host);
    while (!made) LECO_TRY(try_temporary(w, host, &made, err)); /* a name may be taken: our number's last holder's */
    if (w->mode != NEW_FILE) (void)fchmod(w->fd, w->mode);      /* some file systems know no modes */
    return LECO_OK;
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

const char *file_writer_place(const file_writer *w)
{
    return w->temporary;
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
    int lock_holder = fcntl(w->fd, F_DUPFD_CLOEXEC, 0); /* until the file has its name nobody may think it an orphan */
    int closed = close(w->fd);
    w->fd = -1;
    if (status == LECO_OK && closed != 0) status = error_errno(err, w->path, "cannot close", errno);
    if (status == LECO_OK && rename(w->temporary, w->target) != 0)
        status = error_errno(err, w->path, "cannot rename the temporary file", errno);
    if (lock_holder >= 0) close(lock_holder);
    if (status != LECO_OK) {
        file_writer_abort(w);
        return status;
    }
    status = sync_folder(w, err);
    writer_free(w);
    return status;
}

/* ---- folders ---- */

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
