#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define ALIGNMENT 16
#define BLOCK_BYTES ((size_t)64 * 1024)

typedef struct block {
    struct block *previous;
    size_t used, size; /* bytes of data */
    _Alignas(ALIGNMENT) unsigned char data[];
} block;

struct arena {
    block *last;
};

arena *arena_create(void)
{
    return mem_calloc(1, sizeof(arena));
}

void arena_destroy(arena *a)
{
    if (!a) return;
    for (block *b = a->last; b;) {
        block *previous = b->previous;
        mem_free(b);
        b = previous;
    }
    mem_free(a);
}

static block *add_block(arena *a, size_t bytes)
{
    size_t size = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
    size_t total;
    if (!mem_add(size, sizeof(block), &total)) return NULL;
    block *b = mem_calloc(1, total); /* zeroed, so what the arena hands out is */
    if (!b) return NULL;
    b->size = size;
    b->previous = a->last;
    a->last = b;
    return b;
}

void *arena_alloc(arena *a, size_t count, size_t size)
{
    size_t bytes;
    if (!mem_mul(count, size, &bytes) || !mem_add(bytes, ALIGNMENT - 1, &bytes)) return NULL;
    bytes -= bytes % ALIGNMENT;
    if (bytes == 0) bytes = ALIGNMENT; /* two requests never get one address */
    block *b = a->last;
    if (!b || b->size - b->used < bytes) b = add_block(a, bytes);
    if (!b) return NULL;
    void *result = b->data + b->used;
    b->used += bytes;
    return result;
}

size_t arena_bytes(const arena *a)
{
    size_t bytes = sizeof *a;
    for (const block *b = a->last; b; b = b->previous) bytes += sizeof *b + b->size;
    return bytes;
}

char *arena_strdup(arena *a, const char *text)
{
    size_t length = strlen(text);
    char *copy = arena_alloc(a, length + 1, 1);
    if (copy) memcpy(copy, text, length);
    return copy;
}

char *arena_printf(arena *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0) return NULL;
    char *text = arena_alloc(a, (size_t)length + 1, 1);
    if (!text) return NULL;
    va_start(args, format);
    vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return text;
}
