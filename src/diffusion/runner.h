/* A module of a model as a graph: built and planned, then ready to run. */
#ifndef LECO_DIFFUSION_RUNNER_H
#define LECO_DIFFUSION_RUNNER_H

#include "diffusion/device.h"
#include "model/module.h"

typedef struct runner {
    graph *graph;
    const device *device;
    session_plan *plan; /* until there is a session */
    session *session;   /* NULL until runner_prepare */
} runner;

typedef struct runner_spec {
    const device *device;
    weights *weights;
    model_part part;
    const adapter_set *adapters; /* NULL: none */
    const char *what;            /* for messages: "the U-Net" */
    /* Builds the module into c->g, marks its results and notes its tensors in `user`. Failures end up in the graph. */
    void (*build)(nn *c, void *user);
    void *user;
} runner_spec;

/* Builds and plans. Takes no memory but for graph and plan, and reads no weights. The device, the weights and the
 * trainables in the adapters outlive the runner. On failure *out is zeroed. */
leco_status runner_plan(const runner_spec *spec, runner *out, leco_error *err);
/* Takes what was planned, if that isn't done yet. */
leco_status runner_prepare(runner *r, leco_error *err);
/* Both at once. */
leco_status runner_create(const runner_spec *spec, runner *out, leco_error *err);
void runner_free(runner *r); /* safe on a zeroed one */

/* Bytes, as planned: of weights in the forms that kernels want, of the workspace, of graphs and sessions. */
typedef struct planned_memory {
    size_t weights, activations, graphs;
} planned_memory;
size_t planned_total(const planned_memory *m);
enum { PLANNED_ROOM = 100 };
/* "weights 1.0 + activations 2.0 + graphs 3.0", in MiB. */
void planned_parts(const planned_memory *m, char out[PLANNED_ROOM]);
/* Where memory ran out (status), the message gets what was planned beside what is missing; `what` was to take it.
 * Returns status. */
leco_status planned_explain(const planned_memory *m, const char *what, leco_status status, leco_error *err);

size_t runner_arena_bytes(const runner *r); /* of the device's workspace, as planned; 0 of a zeroed one */
size_t runner_bytes(const runner *r);       /* of graph and session, as planned; 0 of a zeroed one */

#endif
