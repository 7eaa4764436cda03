#include "base/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

struct lock {
    int fd;
    char *path;
};

/* flock, not fcntl: that one's locks are the process's, and are lost when any of its threads closes the file. */
bool lock_file(int fd, bool *supported)
{
    int result;
    do result = flock(fd, LOCK_EX | LOCK_NB);
    while (result != 0 && errno == EINTR);
    *supported = result == 0 || errno == EWOULDBLOCK;
    return result == 0 || errno != EWOULDBLOCK;
}

/* Is the open file still the one of that name? Whoever gives a lock back removes it, perhaps just now. */
static bool is_there(int fd, const char *path)
{
    struct stat mine, there;
    return fstat(fd, &mine) == 0 && stat(path, &there) == 0 && mine.st_dev == there.st_dev &&
           mine.st_ino == there.st_ino;
}

/* One that another user's killed process left may only be readable, which is enough to lock it. */
static int open_lock(const char *path)
{
    enum { TRIES = 100 }; /* it may be removed while it is opened: then there is none, for a moment */
    int fd, tries = 0;
    do {
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
        if (fd < 0 && errno == EACCES) fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    } while (fd < 0 && (errno == EINTR || ((errno == ENOENT || errno == ESTALE) && ++tries < TRIES)));
    return fd;
}

/* Nobody depends on this number: it is for the message of those who come too late. */
static void sign(int fd)
{
    char text[24];
    const int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) == 0 && length > 0) (void)!pwrite(fd, text, (size_t)length, 0);
}

static long signature(int fd)
{
    char text[24];
    const ssize_t length = pread(fd, text, sizeof text - 1, 0);
    if (length <= 0) return 0;
    text[length] = '\0';
    const long number = strtol(text, NULL, 10);
    return number > 0 ? number : 0;
}

leco_status lock_take(const char *path, lock **out, long *holder, leco_error *err)
{
    *out = NULL;
    *holder = 0;
    lock *l = mem_calloc(1, sizeof *l);
    char *name = mem_strdup(path);
    leco_status status = l && name ? LECO_OK : error_memory(err, sizeof *l, path);
    while (status == LECO_OK) {
        bool supported;
        const int fd = open_lock(path);
        if (fd < 0) {
            status = error_errno(err, path, "cannot lock", errno);
        } else if (!lock_file(fd, &supported)) {
            *holder = signature(fd);
            close(fd);
            break;
        } else if (supported && !is_there(fd, path)) {
            close(fd);
        } else {
            sign(fd);
            *l = (lock){fd, name};
            *out = l;
            return LECO_OK;
        }
    }
    mem_free(name);
    mem_free(l);
    return status;
}

/* Removed while it is held: nobody can have it in between. */
void lock_give_back(lock *l)
{
    if (!l) return;
    unlink(l->path);
    close(l->fd);
    mem_free(l->path);
    mem_free(l);
}
