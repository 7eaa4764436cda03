#include "backend/backend.h"

#include <string.h>

const backend *backend_find(const char *name)
{
#define BACKEND_ROW(name) &backend_##name,
    static const backend *const all[] = {BACKENDS(BACKEND_ROW)};
#undef BACKEND_ROW
    if (name == NULL) return all[0];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(all[i]->name, name) == 0) return all[i];
    }
    return NULL;
}

const char *backend_names(void)
{
#define BACKEND_ROW(name) ", \"" #name "\""
    return &BACKENDS(BACKEND_ROW)[2];
#undef BACKEND_ROW
}
