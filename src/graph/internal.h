/* What a graph is, for src/graph only. */
#ifndef LECO_GRAPH_INTERNAL_H
#define LECO_GRAPH_INTERNAL_H

#include "base/arena.h"
#include "graph/graph.h"

struct graph {
    dtype compute;
    arena *memory;    /* nodes, tensors, names */
    const char *name; /* of nodes made now */
    node **nodes;     /* in execution order */
    size_t node_count, node_capacity;
    tensor **tensors;
    size_t tensor_count, tensor_capacity;
    bool walking_back; /* the reverse walk is emitting */
    int block, blocks; /* of nodes made now, 0: none; how many there were so far */
    int recomputed;    /* the first so many of them are computed again in the reverse walk */
    leco_error error;  /* the first */
};

#endif
