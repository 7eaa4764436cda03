#include "diffusion/runner.h"

#include "base/cpu.h"
#include "base/log.h"
#include "model/trainable.h"

static void log_runner(const runner_spec *spec, const runner *r, double start, size_t packed_before)
{
    const double mib = 1024.0 * 1024.0;
    const size_t packed = weights_packed_bytes(spec->weights);
    log_message(LOG_DEBUG, "%s%s: %zu nodes in %s, arena %.1f MiB, %.1f MiB of weights packed (%.1f so far), %.2f s",
                spec->what, spec->adapters && spec->adapters->count ? " with adapters" : "", graph_node_count(r->graph),
                dtype_name(spec->device->compute), (double)session_arena_bytes(r->session) / mib,
                (double)(packed - packed_before) / mib, (double)packed / mib, cpu_seconds() - start);
    session_log_chosen(r->session);
}

leco_status runner_create(const runner_spec *spec, runner *out, leco_error *err)
{
    *out = (runner){.graph = graph_create(spec->device->compute)};
    if (!out->graph) return error_memory(err, 0, spec->what);
    const double start = cpu_seconds();
    const size_t packed = weights_packed_bytes(spec->weights);
    nn c;
    nn_init(&c, out->graph, spec->weights, spec->adapters, spec->part);
    spec->build(&c, spec->user);
    leco_status status = graph_finish(out->graph, err);
    if (status == LECO_OK)
        status = session_create(out->graph, spec->device->backend, spec->device->workspace, &out->session, err);
    if (status != LECO_OK)
        runner_free(out);
    else
        log_runner(spec, out, start, packed);
    return status;
}

void runner_free(runner *r)
{
    session_destroy(r->session);
    graph_destroy(r->graph);
    *r = (runner){0};
}
