/* Gradient checkpointing, for the reverse walk: forward nodes of a block made again where it needs them. */
#ifndef LECO_GRAPH_RECOMPUTE_H
#define LECO_GRAPH_RECOMPUTE_H

#include "graph/graph.h"

/* The copies of one block's nodes. Zero-initialise. */
typedef struct recompute {
    int block; /* 0: none yet */
    int first; /* its first node's id */
    size_t count;
    node **copy;   /* [count] */
    node **source; /* [count] what they are copies of */
} recompute;

/* The node that a gradient rule is to see for the forward node n: n itself, or its copy if n's block is computed again.
 * The whole block is emitted when its last node comes. Failures end up in the graph; n is returned then. */
const node *recompute_node(recompute *r, graph *g, const node *n);

/* What a copy's tensor is a copy of; any other tensor is its own original. */
const tensor *recompute_original(const recompute *r, const tensor *t);

void recompute_free(recompute *r);

/* Takes copies that nobody reads, such as the end of each block, out of the graph. */
void recompute_drop_unread(graph *g);

#endif
