/* A module of a model that is ready to run: built into a graph, planned, its kernels prepared. */
#ifndef LECO_DIFFUSION_RUNNER_H
#define LECO_DIFFUSION_RUNNER_H

#include "diffusion/device.h"
#include "model/module.h"

typedef struct runner {
    graph *graph;
    session *session;
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

/* The device, the weights and the trainables in the adapters outlive the runner. On failure *out is zeroed. */
leco_status runner_create(const runner_spec *spec, runner *out, leco_error *err);
void runner_free(runner *r); /* safe on a zeroed one */

#endif
