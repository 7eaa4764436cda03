#include "base/mem.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static _Atomic uint64_t attempts; /* allocations asked for so far */
static _Atomic uint64_t failing;  /* the attempt that fails; 0: none */

/* Counts an attempt; false where a test wants it to fail. */
static bool allowed(void)
{
    return atomic_fetch_add(&attempts, 1) + 1 != atomic_load(&failing);
}

void mem_fail_at(uint64_t nth)
{
    atomic_store(&failing, nth ? atomic_load(&attempts) + nth : 0);
}

uint64_t mem_allocations(void)
{
    return atomic_load(&attempts);
}

bool mem_mul(size_t a, size_t b, size_t *out)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product)) return false;
    *out = product;
    return true;
}

bool mem_add(size_t a, size_t b, size_t *out)
{
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum)) return false;
    *out = sum;
    return true;
}

void *mem_calloc(size_t count, size_t size)
{
    size_t bytes;
    if (!allowed() || !mem_mul(count, size, &bytes)) return NULL;
    return calloc(bytes ? bytes : 1, 1);
}

void *mem_realloc(void *block, size_t count, size_t size)
{
    size_t bytes;
    if (!allowed() || !mem_mul(count, size, &bytes)) return NULL;
    return realloc(block, bytes ? bytes : 1);
}

void *mem_aligned(size_t bytes)
{
    size_t padded;
    if (!allowed() || !mem_add(bytes, MEM_ALIGNMENT - 1, &padded)) return NULL;
    padded -= padded % MEM_ALIGNMENT; /* aligned_alloc wants a multiple */
    return aligned_alloc(MEM_ALIGNMENT, padded ? padded : MEM_ALIGNMENT);
}

bool mem_available(size_t bytes)
{
    if (!allowed()) return false;
    void *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) return false;
    munmap(block, bytes);
    return true;
}

char *mem_strndup(const char *text, size_t length)
{
    length = strnlen(text, length);
    char *copy = mem_calloc(length + 1, 1);
    if (copy) memcpy(copy, text, length);
    return copy;
}

char *mem_strdup(const char *text)
{
    return mem_strndup(text, strlen(text));
}

char *mem_printf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0) return NULL;
    char *text = mem_calloc((size_t)length + 1, 1);
    if (!text) return NULL;
    va_start(args, format);
    vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return text;
}

void mem_free(void *block)
{
    free(block);
}

void mem_free_aligned(void *block)
{
    free(block);
}

uint64_t mem_peak_resident(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    if (!file) return 0;
    char line[256];
    unsigned long long kib = 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %llu kB", &kib) == 1) break;
    fclose(file);
    return kib * 1024;
}
