#include "base/name_table.h"

#include <stdint.h>
#include <string.h>

#include "base/mem.h"

#define LEAST_SLOTS 16 /* a power of two, as all numbers of slots are */

static uint64_t hash(const char *text)
{
    uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) h = (h ^ *p) * UINT64_C(1099511628211);
    return h ^ h >> 29;
}

/* Where the name is, or where it would be put. */
static name_slot *slot_of(const name_table *t, const char *name)
{
    size_t i = hash(name) & (t->slots - 1);
    while (t->slot[i].name && strcmp(t->slot[i].name, name) != 0) i = (i + 1) & (t->slots - 1);
    return &t->slot[i];
}

size_t *name_table_find(const name_table *t, const char *name)
{
    if (t->slots == 0) return NULL;
    name_slot *found = slot_of(t, name);
    return found->name ? &found->value : NULL;
}

static bool grow(name_table *t)
{
    size_t slots = LEAST_SLOTS;
    if (t->slots && !mem_mul(t->slots, 2, &slots)) return false;
    name_table grown = {mem_calloc(slots, sizeof *grown.slot), slots, t->count};
    if (!grown.slot) return false;
    for (size_t i = 0; i < t->slots; i++)
        if (t->slot[i].name) *slot_of(&grown, t->slot[i].name) = t->slot[i];
    mem_free(t->slot);
    *t = grown;
    return true;
}

bool name_table_add(name_table *t, const char *name, size_t value)
{
    if (t->count >= t->slots / 2 && !grow(t)) return false;
    *slot_of(t, name) = (name_slot){name, value};
    t->count++;
    return true;
}

void name_table_free(name_table *t)
{
    mem_free(t->slot);
    *t = (name_table){0};
}
