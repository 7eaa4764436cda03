/* The memory plan: where in one arena each tensor of a graph lives, from its lifetimes in execution order.
 *
 * Two tensors share memory only when the first is dead before the second is born, or when an operator takes over its
 * shared input's memory (ops.def) at that input's last use. */
#ifndef LECO_GRAPH_PLAN_H
#define LECO_GRAPH_PLAN_H

#include "graph/graph.h"

#define PLAN_ALIGNMENT 64
#define PLAN_NOWHERE SIZE_MAX /* not in the arena: weights, params and gradients of params */

typedef struct memory_plan {
    size_t arena_bytes; /* the peak */
    size_t live_bytes;  /* the most that is alive at one node: no plan can need less */
    size_t *tensor;     /* [tensors] offset of each, by id */
    size_t *scratch;    /* [nodes] offset of each node's scratch, by id */
} memory_plan;

/* scratch_bytes [nodes]: the working memory of each node's kernel. Release with plan_free. */
leco_status plan_create(const graph *g, const size_t *scratch_bytes, memory_plan *out, leco_error *err);
void plan_free(memory_plan *p); /* safe on a zeroed plan */

#endif
