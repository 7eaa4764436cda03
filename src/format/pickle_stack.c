#include "format/pickle_stack.h"

#include <string.h>

enum { MAX_VALUES = 4 << 20, LONGEST_NAME = 200 };

leco_status pickle_broken(const pickle_reader *r, const char *what)
{
    return error_set(r->err, LECO_FORMAT, "%s: is a damaged pickle: byte %zu: %s", r->source,
                     (size_t)(r->at - r->begin), what);
}

leco_status pickle_no_memory(const pickle_reader *r)
{
    return error_memory(r->err, 0, r->source);
}

/* ---- what is read ---- */

leco_status pickle_take(pickle_reader *r, size_t bytes, const unsigned char **out)
{
    *out = r->at;
    if (bytes > (size_t)(r->end - r->at)) return pickle_broken(r, "it ends too early");
    r->at += bytes;
    return LECO_OK;
}

leco_status pickle_take_number(pickle_reader *r, int bytes, uint64_t *out)
{
    const unsigned char *at;
    *out = 0;
    LECO_TRY(pickle_take(r, (size_t)bytes, &at));
    for (int i = 0; i < bytes; i++) *out |= (uint64_t)at[i] << (8 * i);
    return LECO_OK;
}

/* A line without its end. */
leco_status pickle_take_line(pickle_reader *r, const char **out)
{
    const unsigned char *end = memchr(r->at, '\n', (size_t)(r->end - r->at));
    *out = "";
    if (!end) return pickle_broken(r, "it ends too early");
    const size_t length = (size_t)(end - r->at);
    if (length > LONGEST_NAME || memchr(r->at, '\0', length)) return pickle_broken(r, "expected a name");
    char *line = arena_alloc(r->memory, length + 1, 1);
    if (!line) return pickle_no_memory(r);
    memcpy(line, r->at, length);
    r->at = end + 1;
    *out = line;
    return LECO_OK;
}

/* ---- values ---- */

void *pickle_with_room(const pickle_reader *r, void *array, size_t count, size_t *room, size_t size)
{
    if (count < *room) return array;
    const size_t wanted = 2 * *room + 16;
    void *grown = arena_alloc(r->memory, wanted, size);
    if (!grown) return NULL;
    if (count) memcpy(grown, array, count * size);
    *room = wanted;
    return grown;
}

leco_status pickle_push(pickle_reader *r, pickle_value *v)
{
    pickle_value **stack = pickle_with_room(r, r->stack, r->depth, &r->stack_room, sizeof *stack);
    if (!stack) return pickle_no_memory(r);
    r->stack = stack;
    stack[r->depth++] = v;
    return LECO_OK;
}

leco_status pickle_push_new(pickle_reader *r, pickle_value like)
{
    pickle_value *v = arena_alloc(r->memory, 1, sizeof *v);
    if (!v) return pickle_no_memory(r);
    if (++r->values > MAX_VALUES) return pickle_broken(r, "too many values");
    *v = like;
    return pickle_push(r, v);
}

size_t pickle_bottom(const pickle_reader *r)
{
    return r->marks ? r->mark[r->marks - 1] : 0;
}

leco_status pickle_pop(pickle_reader *r, pickle_value **out)
{
    *out = NULL;
    if (r->depth <= pickle_bottom(r)) return pickle_broken(r, "nothing is on its stack");
    *out = r->stack[--r->depth];
    return LECO_OK;
}

leco_status pickle_top(const pickle_reader *r, pickle_kind kind, pickle_value **out)
{
    *out = NULL;
    if (r->depth <= pickle_bottom(r)) return pickle_broken(r, "nothing is on its stack");
    *out = r->stack[r->depth - 1];
    return (*out)->kind == kind ? LECO_OK : pickle_broken(r, "something else should be on its stack");
}

leco_status pickle_pop_marked(pickle_reader *r, pickle_value ***first, size_t *count)
{
    *first = NULL;
    *count = 0;
    if (r->marks == 0) return pickle_broken(r, "there is no mark on its stack");
    const size_t depth = r->mark[--r->marks];
    *count = r->depth - depth;
    if (*count > 0) *first = r->stack + depth;
    r->depth = depth;
    return LECO_OK;
}

leco_status pickle_add_items(pickle_reader *r, pickle_value *to, pickle_value *const *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        pickle_value **item = pickle_with_room(r, to->item, to->count, &to->room, sizeof *item);
        if (!item) return pickle_no_memory(r);
        to->item = item;
        item[to->count++] = items[i];
    }
    return LECO_OK;
}

leco_status pickle_push_items(pickle_reader *r, pickle_kind kind, pickle_value *const *items, size_t count)
{
    pickle_value v = {.kind = kind};
    LECO_TRY(pickle_add_items(r, &v, items, count));
    return pickle_push_new(r, v);
}
