#include "backend/workspace.h"

#include "base/mem.h"

struct workspace {
    const device_memory *memory;
    unsigned char *start;
    size_t bytes;
};

workspace *workspace_create(const device_memory *m)
{
    workspace *w = mem_calloc(1, sizeof *w);
    if (w != NULL) w->memory = m;
    return w;
}

void workspace_destroy(workspace *w)
{
    if (w == NULL) return;
    w->memory->free(w->start);
    mem_free(w);
}

const device_memory *workspace_memory(const workspace *w)
{
    return w->memory;
}

size_t workspace_bytes(const workspace *w)
{
    return w->bytes;
}

leco_status workspace_reserve(workspace *w, size_t bytes, leco_error *err)
{
    if (bytes <= w->bytes) return LECO_OK;
    unsigned char *larger = w->memory->alloc(bytes);
    if (larger == NULL) return memory_error(w->memory, bytes, "activations", err);
    w->memory->free(w->start);
    w->start = larger;
    w->bytes = bytes;
    return LECO_OK;
}

unsigned char *workspace_start(const workspace *w)
{
    return w->start;
}
