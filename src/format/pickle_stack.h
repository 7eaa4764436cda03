/* What reading a pickle works on: the bytes to come, the stack, its marks. For format/pickle.c, whose opcodes these are
 * used by. Whatever is wrong is LECO_FORMAT with the place in the pickle. */
#ifndef LECO_FORMAT_PICKLE_STACK_H
#define LECO_FORMAT_PICKLE_STACK_H

#include "format/pickle.h"

typedef struct pickle_reader {
    const pickle_rules *rules;
    arena *memory;
    const char *source;
    const unsigned char *begin, *at, *end;
    leco_error *err;
    pickle_value **stack;
    size_t depth, stack_room;
    size_t *mark; /* [marks] depths of the stack */
    size_t marks, mark_room;
    pickle_value **memo; /* [memo_size] */
    size_t memo_size, memo_room, memoized;
    size_t values;
    bool stopped;
} pickle_reader;

leco_status pickle_broken(const pickle_reader *r, const char *what);
leco_status pickle_no_memory(const pickle_reader *r);

/* The next bytes; a little-endian number; a line without its end, the arena's. */
leco_status pickle_take(pickle_reader *r, size_t bytes, const unsigned char **out);
leco_status pickle_take_number(pickle_reader *r, int bytes, uint64_t *out);
leco_status pickle_take_line(pickle_reader *r, const char **out);

/* The array with room for one more of `size` bytes: itself, or a larger one of the arena's. NULL: no memory. */
void *pickle_with_room(const pickle_reader *r, void *array, size_t count, size_t *room, size_t size);

leco_status pickle_push(pickle_reader *r, pickle_value *v);
leco_status pickle_push_new(pickle_reader *r, pickle_value like);
leco_status pickle_push_items(pickle_reader *r, pickle_kind kind, pickle_value *const *items, size_t count);
leco_status pickle_add_items(pickle_reader *r, pickle_value *to, pickle_value *const *items, size_t count);

size_t pickle_bottom(const pickle_reader *r); /* the depth that nothing may be popped from */
leco_status pickle_pop(pickle_reader *r, pickle_value **out);
leco_status pickle_top(const pickle_reader *r, pickle_kind kind, pickle_value **out);
/* What was pushed since the last mark, which goes away: *first [*count], valid until something is pushed; NULL for
 * nothing. */
leco_status pickle_pop_marked(pickle_reader *r, pickle_value ***first, size_t *count);

#endif
