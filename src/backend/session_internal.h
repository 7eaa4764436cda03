/* What a plan is, for session_plan.c and session.c only. */
#ifndef LECO_BACKEND_SESSION_INTERNAL_H
#define LECO_BACKEND_SESSION_INTERNAL_H

#include "backend/session.h"
#include "graph/plan.h"

/* A node bound to its kernel. */
typedef struct step {
    const kernel *kernel;
    kernel_plan plan;
} step;

struct session_plan {
    const graph *g;
    const backend *backend;
    step *steps;    /* [nodes] */
    size_t planned; /* steps whose plan must be released */
    /* Where the memory is not the host's, params and their gradients have a place behind the arena, and arena_bytes
     * counts it; but for params with a buffer, of which the device has a copy that all sessions share. */
    memory_plan memory;
    const tensor **moved; /* [moved_count] all params, then all gradients, in the order of their places */
    size_t moved_count;
    size_t weight_bytes;
    size_t staging_bytes; /* the largest input or result; 0 where the memory is the host's */
};

kernel_site session_site(const session_plan *p, size_t node);
/* The copy of a buffer of params: wanted when the plan is made. */
leco_status session_buffer(const session_plan *p, weight *buffer, weight_form **out, leco_error *err);

#endif
