/* NVIDIA's libraries, loaded when first needed: leco starts on machines without them. */
#ifndef LECO_CUDA_LIBRARY_H
#define LECO_CUDA_LIBRARY_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* What they want of a workspace; scratch is aligned to less. So many bytes more are planned, for library_workspace. */
enum { LIBRARY_ALIGNMENT = 256 };

static inline void *library_workspace(void *scratch)
{
    return (void *)(((uintptr_t)scratch + LIBRARY_ALIGNMENT - 1) / LIBRARY_ALIGNMENT * LIBRARY_ALIGNMENT);
}

typedef struct library {
    const char *name; /* for messages */
    const char *file; /* "libcublasLt.so"; tried with each version, then alone */
    int versions[4];  /* the newest first; 0 ends them */
    void *handle;     /* NULL until it is loaded */
} library;

typedef struct library_function {
    const char *name;
    size_t at; /* offset of its pointer in the table */
} library_function;

/* Fills the table of pointers. LECO_UNSUPPORTED, naming the library and what was tried, where it isn't found or lacks
 * a function. */
leco_status library_load(library *l, const library_function *functions, size_t count, void *table, leco_error *err);

#endif
