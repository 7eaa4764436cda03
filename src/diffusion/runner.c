#include "diffusion/runner.h"

leco_status runner_create(const runner_spec *spec, runner *out, leco_error *err)
{
    *out = (runner){.graph = graph_create(spec->device->compute)};
    if (!out->graph) return error_memory(err, 0, spec->what);
    nn c;
    nn_init(&c, out->graph, spec->weights, spec->adapters, spec->part);
    spec->build(&c, spec->user);
    leco_status status = graph_finish(out->graph, err);
    if (status == LECO_OK)
        status = session_create(out->graph, spec->device->backend, spec->device->workspace, &out->session, err);
    if (status != LECO_OK) runner_free(out);
    return status;
}

void runner_free(runner *r)
{
    session_destroy(r->session);
    graph_destroy(r->graph);
    *r = (runner){0};
}
