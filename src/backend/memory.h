/* The memory that a backend's kernels work in. */
#ifndef LECO_BACKEND_MEMORY_H
#define LECO_BACKEND_MEMORY_H

#include <stdbool.h>

#include "base/dtype.h"
#include "base/error.h"

/* Blocks are 64-byte aligned, and a pointer into a block may be offset as the host's pointers are. Where upload is NULL
 * the memory is the host's own, all below it are, and what is in it is read and written in place. */
typedef struct device_memory {
    void *(*alloc)(size_t bytes); /* not zeroed; NULL when memory runs out */
    void (*free)(void *block);    /* NULL is fine */
    /* All are done when they return, after all that was started before them. */
    leco_status (*upload)(void *to, const void *from, size_t bytes, leco_error *err);
    /* Uploads count values of another floating type, converted on the way. */
    leco_status (*upload_as)(void *to, dtype type, const void *from, dtype from_type, size_t count, leco_error *err);
    leco_status (*download)(void *to, const void *from, size_t bytes, leco_error *err);
    /* Waits for all that kernels were told to do; what failed of it since the last time is said here. This and the
     * copies are LECO_DEVICE where the device fails: whoever trains saves what it has then, and asks it no more. */
    leco_status (*synchronise)(leco_error *err);
    size_t (*available)(void); /* bytes that could be had now; 0 where nobody knows */
} device_memory;

extern const device_memory host_memory; /* of all backends that run on the processor */

/* "out of memory: ..." of that memory, with what could be had of it where that is known. Returns LECO_MEMORY. */
leco_status memory_error(const device_memory *m, size_t bytes, const char *what, leco_error *err);

static inline bool memory_is_host(const device_memory *m)
{
    return m->upload == NULL;
}

#endif
