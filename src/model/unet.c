#include "model/unet.h"

#include <stdio.h>

#include "model/blocks.h"
#include "op/op.h"

#define TRANSFORMER_NORM_EPS 1e-6f /* of Transformer2DModel's group norm; its layer norms have PyTorch's default */
#define LAYER_NORM_EPS 1e-5f
#define MOST_SKIPS 128

/* What the blocks need besides their input. */
typedef struct unet_build_state {
    const unet_config *config;
    tensor *time;    /* [B,4*channels] SiLU of the time embedding */
    tensor *context; /* [B,T,D] */
    tensor *skip[MOST_SKIPS];
    size_t skips;
} state;

/* ---- transformer ---- */

/* Attention of x [N,H,W,C] to `context` [N,T,D] (itself where NULL), plus `residual`. */
static tensor *attention(nn *c, layer_class class, tensor *x, tensor *context, int64_t heads, tensor *residual)
{
    if (!x) return NULL;
    nn_mark mark = nn_enter_block(c, class, class == LAYER_ATTN1 ? "attn1" : "attn2");
    int64_t width = shape_last(&x->shape);
    tensor *from = context ? context : x;
    tensor *q = nn_linear(c, "to_q", x, width, false, NULL);
    tensor *k = nn_linear(c, "to_k", from, width, false, NULL);
    tensor *v = nn_linear(c, "to_v", from, width, false, NULL);
    tensor *o = op_attention(c->g, q, k, v, (int)heads, 0.0f, false);
    o = nn_linear(c, "to_out.0", o, width, true, residual);
    nn_leave(c, mark);
    return o;
}

/* FeedForward with a GEGLU of four times the width. */
static tensor *feed_forward(nn *c, tensor *x, tensor *residual)
{
    if (!x) return NULL;
    nn_mark mark = nn_enter_block(c, LAYER_FEED_FORWARD, "ff");
    int64_t width = shape_last(&x->shape);
    tensor *h = op_geglu(c->g, nn_linear(c, "net.0.proj", x, 8 * width, true, NULL));
    h = nn_linear(c, "net.2", h, width, true, residual);
    nn_leave(c, mark);
    return h;
}

/* BasicTransformerBlock */
static tensor *transformer_block(nn *c, int64_t index, state *s, tensor *x, int64_t heads)
{
    nn_mark mark = nn_enter(c, "transformer_blocks.%lld", (long long)index);
    x = attention(c, LAYER_ATTN1, nn_layer_norm(c, "norm1", x, LAYER_NORM_EPS), NULL, heads, x);
    x = attention(c, LAYER_ATTN2, nn_layer_norm(c, "norm2", x, LAYER_NORM_EPS), s->context, heads, x);
    x = feed_forward(c, nn_layer_norm(c, "norm3", x, LAYER_NORM_EPS), x);
    nn_leave(c, mark);
    return x;
}

/* proj_in and proj_out are 1x1 convolutions or linear layers: the same product, shaped differently in the file. */
static tensor *projection(nn *c, const char *name, const unet_config *config, tensor *x, tensor *residual)
{
    if (!x) return NULL;
    int64_t width = shape_last(&x->shape);
    return config->use_linear_projection ? nn_linear(c, name, x, width, true, residual)
                                         : nn_conv2d(c, name, x, width, 1, residual);
}

/* Transformer2DModel */
static tensor *transformer(nn *c, int64_t index, state *s, tensor *x, const unet_level *level)
{
    char name[32];
    snprintf(name, sizeof name, "attentions.%lld", (long long)index);
    nn_mark mark = nn_enter_block(c, LAYER_TRANSFORMER, name);
    tensor *h = nn_group_norm(c, "norm", x, s->config->norm_groups, TRANSFORMER_NORM_EPS, false);
    h = projection(c, "proj_in", s->config, h, NULL);
    for (int64_t i = 0; i < level->transformer_layers; i++) h = transformer_block(c, i, s, h, level->heads);
    h = projection(c, "proj_out", s->config, h, x);
    nn_leave(c, mark);
    return h;
}

/* ---- the U ---- */

static tensor *resnet(nn *c, int64_t index, state *s, tensor *x, int64_t out)
{
    char name[32];
    snprintf(name, sizeof name, "resnets.%lld", (long long)index);
    return block_resnet(c, name, x, s->time, out, s->config->norm_groups, s->config->norm_eps);
}

static void push(nn *c, state *s, tensor *x)
{
    if (s->skips == MOST_SKIPS)
        graph_fail(c->g, LECO_UNSUPPORTED, "the U-Net has more than %d layers", MOST_SKIPS);
    else
        s->skip[s->skips++] = x;
}

static tensor *pop(state *s)
{
    return s->skips ? s->skip[--s->skips] : NULL;
}

/* CrossAttnDownBlock2D, DownBlock2D */
static tensor *down_block(nn *c, int64_t index, state *s, tensor *x)
{
    const unet_level *level = &s->config->level[index];
    nn_mark mark = nn_enter(c, "down_blocks.%lld", (long long)index);
    for (int64_t i = 0; i < level->layers; i++) {
        x = resnet(c, i, s, x, level->channels);
        if (level->down_attention) x = transformer(c, i, s, x, level);
        push(c, s, x);
    }
    if (index + 1 < s->config->level_count) {
        x = block_downsample(c, "downsamplers.0", x, (const int[4]){1, 1, 1, 1});
        push(c, s, x);
    }
    nn_leave(c, mark);
    return x;
}

/* UNetMidBlock2DCrossAttn */
static tensor *mid_block(nn *c, state *s, tensor *x)
{
    const unet_level *level = &s->config->level[s->config->level_count - 1];
    nn_mark mark = nn_enter(c, "mid_block");
    x = resnet(c, 0, s, x, level->channels);
    x = transformer(c, 0, s, x, level);
    x = resnet(c, 1, s, x, level->channels);
    nn_leave(c, mark);
    return x;
}

/* CrossAttnUpBlock2D, UpBlock2D; index counts from the lowest resolution. */
static tensor *up_block(nn *c, int64_t index, state *s, tensor *x)
{
    const unet_level *level = &s->config->level[s->config->level_count - 1 - index];
    nn_mark mark = nn_enter(c, "up_blocks.%lld", (long long)index);
    for (int64_t i = 0; i <= level->layers; i++) {
        x = resnet(c, i, s, op_concat(c->g, x, pop(s)), level->channels);
        if (level->up_attention) x = transformer(c, i, s, x, level);
    }
    /* The size is that of the skip to come, which for odd sizes isn't twice the present one. */
    if (index + 1 < s->config->level_count && s->skips && s->skip[s->skips - 1]) {
        const shape *next = &s->skip[s->skips - 1]->shape;
        x = block_upsample(c, "upsamplers.0", x, next->dim[1], next->dim[2]);
    }
    nn_leave(c, mark);
    return x;
}

/* ---- time and added conditions ---- */

/* TimestepEmbedding */
static tensor *embedding_mlp(nn *c, const char *name, tensor *x, int64_t width)
{
    nn_mark mark = nn_enter_block(c, LAYER_TIME, name);
    x = op_activation(c->g, nn_linear(c, "linear_1", x, width, true, NULL), ACT_SILU);
    x = nn_linear(c, "linear_2", x, width, true, NULL);
    nn_leave(c, mark);
    return x;
}

static tensor *sinusoids(nn *c, const unet_config *config, tensor *t, int64_t width)
{
    return op_timestep_embedding(c->g, t, width, config->flip_sin_to_cos, config->freq_shift);
}

/* SDXL: the pooled text embedding and the sinusoids of the six sizes, side by side. */
static tensor *added_conditions(nn *c, const unet_config *config, const unet *u, int64_t width)
{
    tensor *x = u->pooled;
    for (int i = 0; i < UNET_TIME_IDS; i++)
        x = op_concat(c->g, x, sinusoids(c, config, u->time_ids[i], config->addition_time_embed_dim));
    return embedding_mlp(c, "add_embedding", x, width);
}

static void make_inputs(nn *c, const unet_config *config, unet_size size, const unet_texts *texts, unet *u)
{
    graph *g = c->g;
    dtype type = graph_dtype(g), exact = graph_exact_dtype(g);
    u->sample = graph_input(g, "sample", type, SHAPE(size.batch, size.height, size.width, config->in_channels));
    u->timestep = graph_input(g, "timestep", exact, SHAPE(size.batch));
    const shape states = SHAPE(size.batch, size.tokens, unet_context_width(config));
    u->context = texts ? texts->states : graph_input(g, "encoder_hidden_states", type, states);
    if (config->addition_time_embed_dim == 0) return;
    const shape pooled = SHAPE(size.batch, unet_pooled_width(config));
    u->pooled = texts && texts->pooled ? texts->pooled : graph_input(g, "text_embeds", type, pooled);
    for (int i = 0; i < UNET_TIME_IDS; i++) {
        char name[32];
        snprintf(name, sizeof name, "time_ids.%d", i);
        u->time_ids[i] = graph_input(g, name, exact, SHAPE(size.batch));
    }
}

unet unet_build(nn *c, const unet_config *config, unet_size size, const unet_texts *texts)
{
    unet u = {0};
    make_inputs(c, config, size, texts, &u);
    int64_t channels = config->level[0].channels, time_width = 4 * channels;

    tensor *x = nn_conv2d(c, "conv_in", u.sample, channels, 3, NULL);
    tensor *time = embedding_mlp(c, "time_embedding", sinusoids(c, config, u.timestep, channels), time_width);
    if (u.pooled) time = op_add(c->g, time, added_conditions(c, config, &u, time_width));
    state s = {.config = config, .time = op_activation(c->g, time, ACT_SILU), .context = u.context};

    push(c, &s, x);
    for (int64_t i = 0; i < config->level_count; i++) x = down_block(c, i, &s, x);
    x = mid_block(c, &s, x);
    for (int64_t i = 0; i < config->level_count; i++) x = up_block(c, i, &s, x);
    x = nn_group_norm(c, "conv_norm_out", x, config->norm_groups, config->norm_eps, true);
    u.noise = nn_conv2d(c, "conv_out", x, config->out_channels, 3, NULL);
    return u;
}
