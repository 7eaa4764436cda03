/* Locks that die with their process. */
#ifndef LECO_BASE_LOCK_H
#define LECO_BASE_LOCK_H

#include <stdbool.h>

#include "base/error.h"

/* Locks an open file without waiting; false where somebody else holds the lock. A file system without locks locks
 * nothing. */
bool lock_file(int fd, bool *supported);

/* A file whose only purpose is to be locked. It holds the process's number and is removed when given back; one that a
 * killed process left is free for the next. */
typedef struct lock lock;

/* *out is NULL where another one, be it in this process, holds it: *holder is its process then, 0 where it isn't known.
 * The folder must be there. */
leco_status lock_take(const char *path, lock **out, long *holder, leco_error *err);
void lock_give_back(lock *l); /* NULL is fine */

#endif
