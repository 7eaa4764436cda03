/* Which offsets of an arena are taken at which moments, and where the next block fits.
 *
 * A tree over the moments: a block is noted at the few tree nodes that make up its life, and above them. What a tree
 * node knows is a short list of offset ranges, since blocks that are placed without gaps join into one range; so
 * neither noting a block nor finding a place looks at the blocks themselves. */
#ifndef LECO_GRAPH_TAKEN_H
#define LECO_GRAPH_TAKEN_H

#include <stdbool.h>
#include <stddef.h>

typedef struct taken taken;

taken *taken_create(size_t moments); /* NULL when memory runs out. Moments count from 0 */
void taken_destroy(taken *t);        /* NULL is fine */

/* The lowest offset from which `bytes` > 0 are free in all moments from first to last, both included. */
size_t taken_fit(const taken *t, size_t first, size_t last, size_t bytes);

/* Takes them. False when memory runs out. */
bool taken_add(taken *t, size_t first, size_t last, size_t offset, size_t bytes);

#endif
