#include "backend/cuda/library.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Those that don't serve stay open: a library that failed to start is not one to run the ends of. */
static leco_status use(const library *l, const char *file, const library_function *functions, size_t count, void *table,
                       bool *found, leco_error *err)
{
    void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    *found = handle != NULL;
    if (!handle)
        return error_set(err, LECO_UNSUPPORTED,
                         "%s is not installed: %s was looked for in the system's folders and those of LD_LIBRARY_PATH",
                         l->name, l->file);
    for (size_t i = 0; i < count; i++) {
        void *function = dlsym(handle, functions[i].name);
        if (!function)
            return error_set(err, LECO_UNSUPPORTED, "%s is too old or too new: %s has no %s", l->name, file,
                             functions[i].name);
        memcpy((char *)table + functions[i].at, &function, sizeof function);
    }
    return l->start() ? LECO_OK
                      : error_set(err, LECO_UNSUPPORTED, "%s (%s) does not start on this card", l->name, file);
}

leco_status library_load(const library *l, const library_function *functions, size_t count, void *table,
                         leco_error *err)
{
    enum { MOST = sizeof l->versions / sizeof *l->versions };
    leco_error first = {0}; /* what was wrong with the newest that is there */
    for (int i = 0, version = 1; version > 0; i++) {
        char file[64];
        bool found;
        leco_error why = {0};
        version = i < MOST ? l->versions[i] : 0;
        snprintf(file, sizeof file, version > 0 ? "%s.%d" : "%s", l->file, version);
        if (use(l, file, functions, count, table, &found, &why) == LECO_OK) return LECO_OK;
        if (first.status == LECO_OK && (found || version == 0)) first = why;
    }
    return error_set(err, first.status, "%s", first.message);
}
