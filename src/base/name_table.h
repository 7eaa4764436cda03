/* A table from names to numbers (places in the caller's list), for what would be a search through that list. */
#ifndef LECO_BASE_NAME_TABLE_H
#define LECO_BASE_NAME_TABLE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct name_slot {
    const char *name; /* NULL: free */
    size_t value;
} name_slot;

typedef struct name_table {
    name_slot *slot; /* open addressing, at most half full */
    size_t slots, count;
} name_table; /* zeroed: empty */

/* The value of `name`, to be read or changed; NULL: not there. Valid until the next name_table_add. */
size_t *name_table_find(const name_table *t, const char *name);

/* Adds a name that is not there yet; borrowed, it must outlive the table. False where memory runs out. */
bool name_table_add(name_table *t, const char *name, size_t value);

void name_table_free(name_table *t); /* and empties it */

#endif
