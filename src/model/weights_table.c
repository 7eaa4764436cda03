/* The table of a set of weights. */
#include <string.h>

#include "base/mem.h"
#include "model/weights_internal.h"

size_t weights_locate(const weights *w, const char *name, bool *found)
{
    size_t low = 0, high = w->count;
    *found = false;
    while (low < high && !*found) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(w->slots[middle]->w.name, name);
        if (order == 0) *found = true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return *found ? high : low;
}

weights_slot *weights_insert(weights *w, size_t at, const char *name)
{
    if (w->count == w->capacity) {
        size_t capacity = w->capacity ? 2 * w->capacity : 256;
        weights_slot **slots = mem_realloc(w->slots, capacity, sizeof *slots);
        if (!slots) return NULL;
        w->slots = slots;
        w->capacity = capacity;
    }
    weights_slot *s = mem_calloc(1, sizeof *s);
    char *copy = mem_strdup(name);
    if (!s || !copy) {
        mem_free(s);
        mem_free(copy);
        return NULL;
    }
    s->w.name = copy;
    memmove(w->slots + at + 1, w->slots + at, (w->count - at) * sizeof *w->slots);
    w->slots[at] = s;
    w->count++;
    return s;
}
