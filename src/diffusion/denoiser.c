#include "diffusion/denoiser.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/number.h"
#include "op/op.h"

struct denoiser {
    latent_size size;
    size_t context_count, pooled_count; /* floats of one sample's text states, and of its pooled: 0 if not read */
    runner runner;
    unet net;
    prompt_encoder text;   /* zero unless it is built in */
    tensor *target, *loss; /* of a trainable one */
    tensor *huber;         /* the c of its loss; NULL: the loss has none */
    tensor *scaled_by;     /* its loss, for the reverse walk; NULL: it isn't */
    loss_scale *scale;
    float huber_c;
    conditioning *context; /* [batch] */
    float *staging;        /* the widest of the inputs that are put together here */
    size_t staging_count;
    int32_t *ids; /* [encoders,batch,tokens] where they are built in; behind them the ends [batch] */
    size_t id_count;
    dropout_masks masks;
    rng *dropout;
    float *mask; /* room for the largest */
};

void denoiser_destroy(denoiser *n)
{
    if (!n) return;
    runner_free(&n->runner);
    mem_free(n->context);
    mem_free(n->staging);
    mem_free(n->ids);
    mem_free(n->masks.at);
    mem_free(n->mask);
    mem_free(n);
}

/* What build needs to know. */
typedef struct building {
    denoiser *n;
    const model *model;
    const denoiser_options *options;
} building;

static void build(nn *c, void *user)
{
    const building *b = user;
    denoiser *n = b->n;
    const unet_size size = {n->size.batch, n->size.height, n->size.width, b->options->tokens};
    const text_options *text = b->options->text;
    if (text) n->text = prompt_encoder_build(c->g, b->model, c->adapters, size.batch, size.tokens, *text);
    const unet_texts made = {n->text.states, n->text.pooled};
    n->net = unet_build(c, &b->model->unet, size, text ? &made : NULL);
    if (!graph_ok(c->g)) return;
    graph_result(c->g, n->net.noise);
    if (!b->options->trainable) return;
    n->target = graph_input(c->g, "target", graph_exact_dtype(c->g), n->net.noise->shape);
    if (b->options->huber) n->huber = graph_input(c->g, "huber_c", graph_exact_dtype(c->g), (shape){0});
    n->loss = n->huber ? op_huber(c->g, n->net.noise, n->target, n->huber) : op_mse(c->g, n->net.noise, n->target);
    graph_result(c->g, n->loss);
    graph_recompute(c->g, (int)ceil(b->options->recompute * graph_block_count(c->g)));
    if (b->options->scale && graph_dtype(c->g) == DTYPE_F16) {
        n->scale = b->options->scale;
        n->scaled_by = graph_input(c->g, "loss_scale", graph_exact_dtype(c->g), (shape){0});
    }
    graph_backward_from(c->g, n->loss, n->scaled_by, NULL, 0, NULL);
}

static leco_status plan(denoiser *n, const device *d, const model *m, const denoiser_options *o, leco_error *err)
{
    building b = {n, m, o};
    adapter_set adapters = o->adapters ? *o->adapters : (adapter_set){0};
    if (o->trainable && o->dropout) adapters.masks = &n->masks;
    n->dropout = o->dropout;
    const runner_spec spec = {.device = d,
                              .weights = m->weights[PART_UNET],
                              .part = PART_UNET,
                              .adapters = o->adapters ? &adapters : NULL,
                              .what = "the U-Net",
                              .build = build,
                              .user = &b};
    return runner_plan(&spec, &n->runner, err);
}

leco_status denoiser_plan(const device *d, const model *m, const denoiser_options *options, denoiser **out,
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
    n->pooled_count = (size_t)unet_pooled_width(&m->unet);
    n->staging_count =
        (size_t)n->size.batch * (n->context_count > n->pooled_count ? n->context_count : n->pooled_count);
    leco_status status = plan(n, d, m, options, err);
    n->id_count = n->text.count * (size_t)(n->size.batch * options->tokens);
    if (status != LECO_OK) {
        denoiser_destroy(n);
        return status;
    }
    *out = n;
    return LECO_OK;
}

/* Floats of the largest mask. */
static size_t largest_mask(const denoiser *n)
{
    size_t largest = 0;
    for (size_t i = 0; i < n->masks.count; i++) {
        const size_t count = (size_t)shape_count(&n->masks.at[i].mask->shape);
        if (count > largest) largest = count;
    }
    return largest;
}

/* With the ends of the prompts; 0 where the text encoders aren't built in. */
static size_t id_room(const denoiser *n)
{
    return n->id_count ? n->id_count + (size_t)n->size.batch : 0;
}

leco_status denoiser_prepare(denoiser *n, leco_error *err)
{
    LECO_TRY(runner_prepare(&n->runner, err));
    const size_t masked = largest_mask(n);
    if (masked && !n->mask) n->mask = mem_calloc(masked, sizeof *n->mask);
    if (masked && !n->mask) return error_memory(err, masked * sizeof *n->mask, "a denoiser's dropout");
    if (!n->context) n->context = mem_calloc((size_t)n->size.batch, sizeof *n->context);
    if (!n->staging) n->staging = mem_calloc(n->staging_count, sizeof *n->staging);
    if (!n->ids && n->id_count) n->ids = mem_calloc(id_room(n), sizeof *n->ids);
    if (n->context && n->staging && (n->ids || !n->id_count)) return LECO_OK;
    return error_memory(err, n->staging_count * sizeof *n->staging, "a denoiser's text states");
}

leco_status denoiser_create(const device *d, const model *m, const denoiser_options *options, denoiser **out,
                            leco_error *err)
{
    LECO_TRY(denoiser_plan(d, m, options, out, err));
    const planned_memory planned = {weights_planned_bytes(m->weights[PART_UNET]), denoiser_arena_bytes(*out),
                                    denoiser_bytes(*out)};
    leco_status status = planned_explain(&planned, "the U-Net", denoiser_prepare(*out, err), err);
    if (status == LECO_OK) return LECO_OK;
    denoiser_destroy(*out);
    *out = NULL;
    return status;
}

latent_size denoiser_size(const denoiser *n)
{
    return n->size;
}

size_t denoiser_arena_bytes(const denoiser *n)
{
    return runner_arena_bytes(&n->runner);
}

size_t denoiser_bytes(const denoiser *n)
{
    return sizeof *n + runner_bytes(&n->runner) + (size_t)n->size.batch * sizeof *n->context +
           n->staging_count * sizeof *n->staging + id_room(n) * sizeof *n->ids + largest_mask(n) * sizeof *n->mask +
           n->masks.capacity * sizeof *n->masks.at;
}

graph *denoiser_graph(denoiser *n)
{
    return n->runner.graph;
}

session *denoiser_session(denoiser *n)
{
    return n->runner.session;
}

void denoiser_set_context(denoiser *n, int64_t sample, const conditioning *c)
{
    assert(n->ids ? c->ids != NULL : c->states && (c->pooled || n->pooled_count == 0));
    n->context[sample] = *c;
}

/* What a model with added conditions (SDXL's) reads beside the text states. */
static leco_status write_added(denoiser *n, leco_error *err)
{
    const size_t batch = (size_t)n->size.batch;
    session *s = n->runner.session;
    for (size_t i = 0; i < batch && !n->text.pooled; i++)
        memcpy(n->staging + i * n->pooled_count, n->context[i].pooled, n->pooled_count * sizeof(float));
    if (!n->text.pooled) LECO_TRY(session_write(s, n->net.pooled, n->staging, batch * n->pooled_count, err));
    for (int k = 0; k < UNET_TIME_IDS; k++) {
        for (size_t i = 0; i < batch; i++) n->staging[i] = n->context[i].sizes[k];
        LECO_TRY(session_write(s, n->net.time_ids[k], n->staging, batch, err));
    }
    return LECO_OK;
}

/* The samples' ids, for the text encoders in the graph. */
static leco_status write_ids(denoiser *n, leco_error *err)
{
    const size_t batch = (size_t)n->size.batch, tokens = (size_t)n->text.tokens;
    for (size_t k = 0; k < n->text.count; k++)
        for (size_t i = 0; i < batch; i++)
            memcpy(n->ids + (k * batch + i) * tokens, n->context[i].ids + k * tokens, tokens * sizeof *n->ids);
    return prompt_encoder_write(&n->text, n->runner.session, n->ids, n->ids + n->id_count, err);
}

static leco_status write_inputs(denoiser *n, const float *x, double timestep, leco_error *err)
{
    session *s = n->runner.session;
    LECO_TRY(session_write(s, n->net.sample, x, latent_count(n->size), err));
    const size_t batch = (size_t)n->size.batch;
    for (size_t i = 0; i < batch; i++) n->staging[i] = (float)timestep;
    LECO_TRY(session_write(s, n->net.timestep, n->staging, batch, err));
    if (n->net.pooled) LECO_TRY(write_added(n, err));
    if (n->ids) return write_ids(n, err);
    for (size_t i = 0; i < batch; i++) {
        assert(n->context[i].states);
        memcpy(n->staging + i * n->context_count, n->context[i].states, n->context_count * sizeof(float));
    }
    return session_write(s, n->net.context, n->staging, batch * n->context_count, err);
}

leco_status denoiser_run(denoiser *n, const float *x, double timestep, float *output, leco_error *err)
{
    LECO_TRY(write_inputs(n, x, timestep, err));
    LECO_TRY(session_run(n->runner.session, err));
    return session_read(n->runner.session, n->net.noise, output, latent_count(n->size), err);
}

void denoiser_set_huber(denoiser *n, double c)
{
    assert(n->huber && c > 0);
    n->huber_c = (float)c;
}

static leco_status write_masks(denoiser *n, leco_error *err)
{
    for (size_t i = 0; i < n->masks.count; i++) {
        const dropout_mask *m = &n->masks.at[i];
        dropout_draw(m, n->dropout, n->mask);
        LECO_TRY(session_write(n->runner.session, m->mask, n->mask, (size_t)shape_count(&m->mask->shape), err));
    }
    return LECO_OK;
}

static leco_status run_training(denoiser *n, const float *x, double timestep, const float *target, double *loss,
                                leco_error *err)
{
    LECO_TRY(write_inputs(n, x, timestep, err));
    LECO_TRY(write_masks(n, err));
    LECO_TRY(session_write(n->runner.session, n->target, target, latent_count(n->size), err));
    if (n->huber) LECO_TRY(session_write(n->runner.session, n->huber, &n->huber_c, 1, err));
    if (n->scaled_by) {
        const float factor = loss_scale_factor(n->scale);
        LECO_TRY(session_write(n->runner.session, n->scaled_by, &factor, 1, err));
    }
    LECO_TRY(session_run(n->runner.session, err));
    float value;
    LECO_TRY(session_read(n->runner.session, n->loss, &value, 1, err));
    *loss = (double)value;
    return LECO_OK;
}

/* Gradients of params as they are without the scale; false where one isn't finite. */
static bool unscale(denoiser *n)
{
    const float factor = 1 / loss_scale_factor(n->scale);
    const graph *g = n->runner.graph;
    for (size_t i = 0; i < graph_tensor_count(g); i++) {
        const tensor *t = graph_tensor_at(g, i);
        if (t->kind != TENSOR_PARAM_GRAD) continue;
        float *grad = t->param->grad;
        const size_t count = (size_t)shape_count(&t->shape);
        for (size_t k = 0; k < count; k++) grad[k] *= factor;
        if (number_first_bad(grad, count) < count) return false;
    }
    return true;
}

leco_status denoiser_run_training(denoiser *n, const float *x, double timestep, const float *target, double *loss,
                                  leco_error *err)
{
    assert(n->loss);
    for (;;) {
        const rng before = n->scale && n->dropout ? *n->dropout : (rng){0};
        LECO_TRY(run_training(n, x, timestep, target, loss, err));
        if (!n->scale || !isfinite(*loss)) return LECO_OK;
        if (unscale(n)) break;
        if (!loss_scale_shrink(n->scale))
            return error_set(err, LECO_INVALID,
                             "the gradients are not finite in float16, whose largest number is 65504; float32 has the "
                             "range");
        if (n->dropout) *n->dropout = before;
    }
    loss_scale_passed(n->scale);
    return LECO_OK;
}
