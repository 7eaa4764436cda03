#include "backend/cuda/library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static leco_status open_library(library *l, leco_error *err)
{
    char file[64];
    for (int i = 0; !l->handle && i < 4 && l->versions[i] > 0; i++) {
        snprintf(file, sizeof file, "%s.%d", l->file, l->versions[i]);
        l->handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    }
    if (!l->handle) l->handle = dlopen(l->file, RTLD_NOW | RTLD_LOCAL);
    if (l->handle) return LECO_OK;
    return error_set(err, LECO_UNSUPPORTED,
                     "%s is not installed: %s was looked for in the system's folders and those of LD_LIBRARY_PATH",
                     l->name, l->file);
}

leco_status library_load(library *l, const library_function *functions, size_t count, void *table, leco_error *err)
{
    LECO_TRY(open_library(l, err));
    for (size_t i = 0; i < count; i++) {
        void *found = dlsym(l->handle, functions[i].name);
        if (!found)
            return error_set(err, LECO_UNSUPPORTED, "%s is too old or too new: it has no %s", l->name,
                             functions[i].name);
        memcpy((char *)table + functions[i].at, &found, sizeof found);
    }
    return LECO_OK;
}
