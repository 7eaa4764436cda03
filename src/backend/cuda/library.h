/* NVIDIA's libraries, loaded when first needed: leco starts on machines without them. */
#ifndef LECO_CUDA_LIBRARY_H
#define LECO_CUDA_LIBRARY_H

#include <stdbool.h>
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
    const char *name;    /* for messages */
    const char *file;    /* "libcublasLt.so"; tried with each version, then alone */
    int versions[4];     /* the newest first; 0 ends them */
    bool (*start)(void); /* with the table filled; false: it does not work with this card and its driver */
} library;

typedef struct library_function {
    const char *name;
    size_t at; /* offset of its pointer in the table */
} library_function;

/* Fills the table of pointers from the newest version that is there, has all functions and starts. LECO_UNSUPPORTED
 * where none does, naming the library, and what was wrong with the newest. */
leco_status library_load(const library *l, const library_function *functions, size_t count, void *table,
                         leco_error *err);

#endif
