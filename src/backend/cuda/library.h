/* NVIDIA's libraries, loaded when first needed: leco starts on machines without them. */
#ifndef LECO_CUDA_LIBRARY_H
#define LECO_CUDA_LIBRARY_H

#include <stddef.h>

#include "base/error.h"

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
