#include "backend/memory.h"
#include "base/mem.h"

const device_memory host_memory = {.alloc = mem_aligned, .free = mem_free_aligned};

leco_status memory_error(const device_memory *m, size_t bytes, const char *what, leco_error *err)
{
    const double mib = 1024.0 * 1024.0;
    const size_t left = m->available ? m->available() : 0;
    if (left == 0) return error_memory(err, bytes, what);
    return error_set(err, LECO_MEMORY,
                     "out of memory: could not allocate %.1f MiB of the device's memory for %s, %.1f MiB of it are "
                     "free; smaller pictures and batches take less",
                     (double)bytes / mib, what, (double)left / mib);
}
