/* A bump allocator: many small allocations with one lifetime (the nodes of a graph, the strings of a config). */
#ifndef LECO_BASE_ARENA_H
#define LECO_BASE_ARENA_H

#include <stddef.h>

typedef struct arena arena;

arena *arena_create(void);    /* NULL when memory runs out */
void arena_destroy(arena *a); /* frees everything handed out; NULL is fine */

/* Zeroed, 16-byte aligned, valid until arena_destroy. NULL when memory runs out or count * size overflows. */
void *arena_alloc(arena *a, size_t count, size_t size);
size_t arena_bytes(const arena *a); /* taken so far */
char *arena_strdup(arena *a, const char *text);
char *arena_printf(arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
