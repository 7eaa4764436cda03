#include "graph/taken.h"

#include <string.h>

#include "base/arena.h"

typedef struct range {
    size_t begin, end;
} range;

/* Ranges in order, none touching the next. */
typedef struct range_list {
    range *item;
    size_t count, capacity;
} range_list;

typedef struct tree_node {
    range_list some; /* taken in at least one moment of this node */
    range_list all;  /* taken by blocks that live through all of its moments */
} tree_node;

/* Node 1 is the root, 2n and 2n + 1 are the halves of n. */
struct taken {
    arena *memory;
    size_t moments; /* a power of two */
    tree_node *node;
};

taken *taken_create(size_t moments)
{
    arena *memory = arena_create();
    taken *t = memory != NULL ? arena_alloc(memory, 1, sizeof *t) : NULL;
    if (t != NULL) {
        for (t->moments = 1; t->moments < moments;) t->moments *= 2;
        t->memory = memory;
        t->node = arena_alloc(memory, 2 * t->moments, sizeof *t->node);
        if (t->node != NULL) return t;
    }
    arena_destroy(memory);
    return NULL;
}

void taken_destroy(taken *t)
{
    if (t != NULL) arena_destroy(t->memory);
}

/* The first range that ends behind `offset` (or, with_touching, at it), or count. */
static size_t find(const range_list *l, size_t offset, bool with_touching)
{
    size_t low = 0, high = l->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (l->item[middle].end > offset || (with_touching && l->item[middle].end == offset))
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Puts a range in, joined with those that it overlaps or touches. */
static bool insert(arena *memory, range_list *l, range r)
{
    size_t from = find(l, r.begin, true), to = from;
    for (; to < l->count && l->item[to].begin <= r.end; to++) {
        if (l->item[to].begin < r.begin) r.begin = l->item[to].begin;
        if (l->item[to].end > r.end) r.end = l->item[to].end;
    }
    if (from == to && l->count == l->capacity) {
        size_t capacity = l->capacity > 0 ? 2 * l->capacity : 4;
        range *grown = arena_alloc(memory, capacity, sizeof *grown);
        if (grown == NULL) return false;
        if (l->count > 0) memcpy(grown, l->item, l->count * sizeof *grown);
        l->item = grown;
        l->capacity = capacity;
    }
    memmove(l->item + from + 1, l->item + to, (l->count - to) * sizeof *l->item);
    l->item[from] = r;
    l->count = l->count + 1 - (to - from);
    return true;
}

/* A part of the tree: `node` stands for the moments from `begin` on, `size` of them. */
typedef struct part {
    size_t node, begin, size;
} part;

static part half(part p, size_t which)
{
    return (part){2 * p.node + which, p.begin + which * (p.size / 2), p.size / 2};
}

static bool add(taken *t, part p, size_t first, size_t last, range r)
{
    if (last < p.begin || first >= p.begin + p.size) return true;
    if (!insert(t->memory, &t->node[p.node].some, r)) return false;
    if (first <= p.begin && p.begin + p.size - 1 <= last) return insert(t->memory, &t->node[p.node].all, r);
    return add(t, half(p, 0), first, last, r) && add(t, half(p, 1), first, last, r);
}

bool taken_add(taken *t, size_t first, size_t last, size_t offset, size_t bytes)
{
    return add(t, (part){1, 0, t->moments}, first, last, (range){offset, offset + bytes});
}

/* Moves the offset up behind what is in its way. */
static void avoid(const range_list *l, size_t bytes, size_t *offset)
{
    for (size_t i = find(l, *offset, false); i < l->count && l->item[i].begin < *offset + bytes; i++)
        *offset = l->item[i].end;
}

static void avoid_part(const taken *t, part p, size_t first, size_t last, size_t bytes, size_t *offset)
{
    if (last < p.begin || first >= p.begin + p.size) return;
    if (first <= p.begin && p.begin + p.size - 1 <= last) {
        avoid(&t->node[p.node].some, bytes, offset);
        return;
    }
    avoid(&t->node[p.node].all, bytes, offset);
    avoid_part(t, half(p, 0), first, last, bytes, offset);
    avoid_part(t, half(p, 1), first, last, bytes, offset);
}

size_t taken_fit(const taken *t, size_t first, size_t last, size_t bytes)
{
    size_t offset = 0;
    for (;;) {
        size_t before = offset;
        avoid_part(t, (part){1, 0, t->moments}, first, last, bytes, &offset);
        if (offset == before) return offset; /* no list had anything in the way */
    }
}
