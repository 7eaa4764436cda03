#include "diffusion/denoiser.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "op/op.h"

struct denoiser {
    latent_size size;
    size_t context_count; /* floats of one sample's text states */
    graph *graph;
    session *session;
    unet net;
    tensor *target, *loss; /* of a trainable one */
    const float **context; /* [batch] borrowed text states */
    float *staging;        /* the widest of the inputs that are put together here */
    size_t staging_count;
};

void denoiser_destroy(denoiser *n)
{
    if (!n) return;
    session_destroy(n->session);
    graph_destroy(n->graph);
    mem_free(n->context);
    mem_free(n->staging);
    mem_free(n);
}

static leco_status build(denoiser *n, const device *d, const model *m, const denoiser_options *o, leco_error *err)
{
    n->graph = graph_create(d->compute);
    if (!n->graph) return error_memory(err, 0, "the U-Net's graph");
    nn c;
    nn_init(&c, n->graph, m->unet_weights, o->adapters, PART_UNET);
    unet_size size = {n->size.batch, n->size.height, n->size.width, o->tokens};
    n->net = unet_build(&c, &m->unet, size);
    if (graph_ok(n->graph)) graph_result(n->graph, n->net.noise);
    if (o->trainable && graph_ok(n->graph)) {
        n->target = graph_input(n->graph, "target", graph_exact_dtype(n->graph), n->net.noise->shape);
        n->loss = op_mse(n->graph, n->net.noise, n->target);
        graph_result(n->graph, n->loss);
        graph_backward(n->graph, n->loss);
    }
    LECO_TRY(graph_finish(n->graph, err));
    return session_create(n->graph, d->backend, d->workspace, &n->session, err);
}

leco_status denoiser_create(const device *d, const model *m, const denoiser_options *options, denoiser **out,
                            leco_error *err)
{
    *out = NULL;
    if (m->unet.in_channels != m->unet.out_channels)
        return error_set(err, LECO_UNSUPPORTED, "%s: a U-Net with %lld input and %lld output channels is not supported",
                         m->folder, (long long)m->unet.in_channels, (long long)m->unet.out_channels);
    denoiser *n = mem_calloc(1, sizeof *n);
    if (!n) return error_memory(err, sizeof *n, "a denoiser");
    n->size = options->size;
    n->size.channels = m->unet.in_channels;
    n->context_count = (size_t)(options->tokens * unet_context_width(&m->unet));
    size_t pooled = (size_t)unet_pooled_width(&m->unet);
    size_t widest = (size_t)n->size.batch * (n->context_count > pooled ? n->context_count : pooled);
    n->context = mem_calloc((size_t)n->size.batch, sizeof *n->context);
    n->staging = mem_calloc(widest, sizeof *n->staging);
    n->staging_count = widest;
    leco_status status =
        n->context && n->staging ? LECO_OK : error_memory(err, widest * sizeof(float), "a denoiser's text states");
    if (status == LECO_OK) status = build(n, d, m, options, err);
    if (status != LECO_OK) {
        denoiser_destroy(n);
        return status;
    }
    *out = n;
    return LECO_OK;
}

latent_size denoiser_size(const denoiser *n)
{
    return n->size;
}

size_t denoiser_arena_bytes(const denoiser *n)
{
    return session_arena_bytes(n->session);
}

size_t denoiser_bytes(const denoiser *n)
{
    return sizeof *n + graph_bytes(n->graph) + session_bytes(n->session) + (size_t)n->size.batch * sizeof *n->context +
           n->staging_count * sizeof *n->staging;
}

graph *denoiser_graph(denoiser *n)
{
    return n->graph;
}

session *denoiser_session(denoiser *n)
{
    return n->session;
}

void denoiser_set_context(denoiser *n, int64_t sample, const float *states)
{
    n->context[sample] = states;
}

/* Writes one value into all elements of an input. */
static void write_all(denoiser *n, const tensor *t, float value)
{
    size_t count = (size_t)shape_count(&t->shape);
    for (size_t i = 0; i < count; i++) n->staging[i] = value;
    session_write(n->session, t, n->staging, count);
}

static void write_inputs(denoiser *n, const float *x, double timestep)
{
    session_write(n->session, n->net.sample, x, latent_count(n->size));
    write_all(n, n->net.timestep, (float)timestep);
    if (n->net.pooled) {
        write_all(n, n->net.pooled, 0.0f);
        for (int i = 0; i < UNET_TIME_IDS; i++) write_all(n, n->net.time_ids[i], 0.0f);
    }
    for (int64_t i = 0; i < n->size.batch; i++) {
        assert(n->context[i]);
        memcpy(n->staging + (size_t)i * n->context_count, n->context[i], n->context_count * sizeof(float));
    }
    session_write(n->session, n->net.context, n->staging, (size_t)n->size.batch * n->context_count);
}

void denoiser_run(denoiser *n, const float *x, double timestep, float *output)
{
    write_inputs(n, x, timestep);
    session_run(n->session);
    session_read(n->session, n->net.noise, output, latent_count(n->size));
}

double denoiser_run_training(denoiser *n, const float *x, double timestep, const float *target, float *output)
{
    assert(n->loss);
    write_inputs(n, x, timestep);
    session_write(n->session, n->target, target, latent_count(n->size));
    session_run(n->session);
    if (output) session_read(n->session, n->net.noise, output, latent_count(n->size));
    float loss;
    session_read(n->session, n->loss, &loss, 1);
    return (double)loss;
}
