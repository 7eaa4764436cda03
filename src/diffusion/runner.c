#include "diffusion/runner.h"

#include <stdio.h>

#include "base/cpu.h"
#include "base/log.h"
#include "model/trainable.h"

static const session_plan *plan_of(const runner *r)
{
    return r->session ? session_planned(r->session) : r->plan;
}

/* The VAE of Stable Diffusion XL has activations beyond float16's range. */
static dtype compute_of(const runner_spec *spec)
{
    const dtype wanted = spec->device->compute;
    return spec->part == PART_VAE && wanted == DTYPE_F16 ? DTYPE_F32 : wanted;
}

static void log_runner(const runner_spec *spec, const runner *r, double start, size_t planned_before)
{
    const double mib = 1024.0 * 1024.0;
    const size_t planned = weights_planned_bytes(spec->weights);
    log_message(LOG_DEBUG, "%s%s: %zu nodes in %s, arena %.1f MiB, %.1f MiB of weights packed (%.1f so far), %.2f s",
                spec->what, spec->adapters && spec->adapters->count ? " with adapters" : "", graph_node_count(r->graph),
                dtype_name(compute_of(spec)), (double)runner_arena_bytes(r) / mib,
                (double)(planned - planned_before) / mib, (double)planned / mib, cpu_seconds() - start);
    session_plan_log_chosen(r->plan);
}

leco_status runner_plan(const runner_spec *spec, runner *out, leco_error *err)
{
    *out = (runner){.graph = graph_create(compute_of(spec)), .device = spec->device};
    if (!out->graph) return error_memory(err, 0, spec->what);
    const double start = cpu_seconds();
    const size_t planned = weights_planned_bytes(spec->weights);
    nn c;
    nn_init(&c, out->graph, spec->weights, spec->adapters, spec->part);
    spec->build(&c, spec->user);
    leco_status status = session_plan_create(out->graph, spec->device->backend, &out->plan, err);
    if (status != LECO_OK)
        runner_free(out);
    else
        log_runner(spec, out, start, planned);
    return status;
}

leco_status runner_prepare(runner *r, leco_error *err)
{
    if (r->session) return LECO_OK;
    if (!r->plan) LECO_TRY(session_plan_create(r->graph, r->device->backend, &r->plan, err)); /* it failed before */
    session_plan *plan = r->plan;
    r->plan = NULL; /* the session's from here on, also where it fails */
    return session_create(plan, r->device->workspace, &r->session, err);
}

#define MIB (1024.0 * 1024.0)

size_t planned_total(const planned_memory *m)
{
    return m->weights + m->activations + m->graphs;
}

void planned_parts(const planned_memory *m, char out[PLANNED_ROOM])
{
    snprintf(out, PLANNED_ROOM, "weights %.1f + activations %.1f + graphs %.1f", (double)m->weights / MIB,
             (double)m->activations / MIB, (double)m->graphs / MIB);
}

leco_status planned_explain(const planned_memory *m, const char *what, leco_status status, leco_error *err)
{
    char parts[PLANNED_ROOM];
    if (status != LECO_MEMORY || !err) return status;
    planned_parts(m, parts);
    return error_set(err, status, "%s; %s was planned to take %.1f MiB = %s", err->message, what,
                     (double)planned_total(m) / MIB, parts);
}

leco_status runner_create(const runner_spec *spec, runner *out, leco_error *err)
{
    LECO_TRY(runner_plan(spec, out, err));
    const planned_memory planned = {weights_planned_bytes(spec->weights), runner_arena_bytes(out), runner_bytes(out)};
    leco_status status = planned_explain(&planned, spec->what, runner_prepare(out, err), err);
    if (status != LECO_OK) runner_free(out);
    return status;
}

void runner_free(runner *r)
{
    session_destroy(r->session);
    session_plan_destroy(r->plan);
    graph_destroy(r->graph);
    *r = (runner){0};
}

size_t runner_arena_bytes(const runner *r)
{
    const session_plan *p = plan_of(r);
    return p ? session_plan_arena_bytes(p) : 0;
}

size_t runner_bytes(const runner *r)
{
    const session_plan *p = plan_of(r);
    return p ? graph_bytes(r->graph) + session_plan_bytes(p) : 0;
}
