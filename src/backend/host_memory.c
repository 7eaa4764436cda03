#include "backend/memory.h"
#include "base/mem.h"

const device_memory host_memory = {.alloc = mem_aligned, .free = mem_free_aligned};
