#include "backend/backend.h"

#include <string.h>

const backend *backend_at(size_t index)
{
#define BACKEND_ROW(name) &backend_##name,
    static const backend *const all[] = {BACKENDS(BACKEND_ROW)};
#undef BACKEND_ROW
    return index < sizeof all / sizeof *all ? all[index] : NULL;
}

const backend *backend_find(const char *name)
{
    const backend *b;
    for (size_t i = 0; (b = backend_at(i)) != NULL; i++) {
        if (strcmp(b->name, name) == 0) return b;
    }
    return NULL;
}

leco_status backend_open(const backend *b, leco_error *err)
{
    return b->open ? b->open(err) : LECO_OK;
}

const backend *backend_default(void)
{
    const backend *b;
    for (size_t i = 0; (b = backend_at(i)) != NULL; i++) {
        if (backend_open(b, NULL) == LECO_OK) return b;
    }
    return NULL;
}

const char *backend_names(void)
{
#define BACKEND_ROW(name) ", \"" #name "\""
    return &BACKENDS(BACKEND_ROW)[2];
#undef BACKEND_ROW
}
