/* What a run is made of, as names and texts: what must be the same for going on with it, and what its files tell. */
#ifndef LECO_TRAIN_SETTINGS_H
#define LECO_TRAIN_SETTINGS_H

#include "base/arena.h"
#include "base/error.h"

typedef struct setting_list {
    arena *memory; /* of all texts; the list's */
    const char *(*pair)[2];
    size_t count, capacity;
} setting_list;

leco_status settings_create(setting_list *out, leco_error *err); /* on failure *out can be freed, too */
void settings_free(setting_list *s);                             /* safe on a zeroed one */

/* Both texts are copied. */
leco_status settings_add(setting_list *s, const char *name, const char *value, leco_error *err);
const char *settings_find(const setting_list *s, const char *name); /* NULL: not there */

#endif
