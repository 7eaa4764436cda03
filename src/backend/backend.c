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
    if (name == NULL) return backend_at(0);
    const backend *b;
    for (size_t i = 0; (b = backend_at(i)) != NULL; i++) {
        if (strcmp(b->name, name) == 0) return b;
    }
    return NULL;
}

const char *backend_names(void)
{
#define BACKEND_ROW(name) ", \"" #name "\""
    return &BACKENDS(BACKEND_ROW)[2];
#undef BACKEND_ROW
}
