/* Every heap allocation of the library goes through here, so that tests can make each of them fail in turn. */
#ifndef LECO_BASE_MEM_H
#define LECO_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed memory for count * size bytes; NULL when the product overflows or memory runs out. Owned by the caller;
 * release with mem_free. A zero-sized request returns a valid pointer. */
void *mem_calloc(size_t count, size_t size);

/* Like realloc, with the product checked; new bytes are not zeroed. On failure the old block stays valid. */
void *mem_realloc(void *block, size_t count, size_t size);

#define MEM_ALIGNMENT 64
/* Aligned to MEM_ALIGNMENT, not zeroed; for tensors. Release with mem_free_aligned. */
void *mem_aligned(size_t bytes);

/* Whether that much could be had at this moment. Takes nothing and touches nothing: a microsecond. */
bool mem_available(size_t bytes);

char *mem_strdup(const char *text);
char *mem_strndup(const char *text, size_t length);
/* asprintf over mem_calloc. NULL when memory runs out. */
char *mem_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

void mem_free(void *block); /* NULL is fine */
void mem_free_aligned(void *block);

/* *out = a * b or a + b; false (and *out untouched) on overflow. */
bool mem_mul(size_t a, size_t b, size_t *out);
bool mem_add(size_t a, size_t b, size_t *out);

/* The most bytes of this process that were resident so far (VmHWM); 0 where the system doesn't tell. */
uint64_t mem_peak_resident(void);

/* Fault injection for tests/fault: the n-th allocation from now (1 = the next) fails, once. 0 turns it off.
 * mem_allocations counts every attempt since the start of the program. */
void mem_fail_at(uint64_t nth);
uint64_t mem_allocations(void);

#endif
