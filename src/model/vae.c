#include "model/vae.h"

#include <stdio.h>
#include <string.h>

#include "model/blocks.h"
#include "model/config_json.h"
#include "op/op.h"

#define NORM_EPS 1e-6f

/* ---- configuration ---- */

/* Every key of diffusers' AutoencoderKL (0.35 to 0.42). */
static const config_key keys[] = {
    /* read */
    {"in_channels", "*a whole number"},
    {"out_channels", "*a whole number"},
    {"latent_channels", "*a whole number"},
    {"block_out_channels", "*a list of whole numbers"},
    {"layers_per_block", "*a whole number"},
    {"norm_num_groups", "*a whole number"},
    {"scaling_factor", "*a number"},
    {"use_quant_conv", "*true or false"},
    {"use_post_quant_conv", "*true or false"},
    {"mid_block_add_attention", "*true or false"},
    {"down_block_types", "*a list of names"},
    {"up_block_types", "*a list of names"},
    /* no matter */
    {"force_upcast", NULL}, /* float16 is too small for the model, which leco never computes it in */
    {"sample_size", NULL},  /* the size of tiles, where a picture is decoded in tiles */
    /* other arithmetic */
    {"act_fn", "\"silu\"|\"swish\""},
    {"shift_factor", "0|null"},
    {"latents_mean", "null"},
    {"latents_std", "null"},
    {NULL, NULL},
};

static leco_status check_blocks(const json_t *root, const char *path, const char *key, const char *name, int64_t count,
                                leco_error *err)
{
    const json_t *list = json_object_get(root, key);
    size_t index;
    json_t *element;
    if (!json_is_array(list) || json_array_size(list) != (size_t)count)
        return error_set(err, LECO_INVALID, "%s: key \"%s\": expected a list of %lld names, as in block_out_channels",
                         path, key, (long long)count);
    json_array_foreach(list, index, element) {
        if (!json_is_text(element) || strcmp(json_string_value(element), name) != 0)
            return config_refuse(element, path, key, name, err);
    }
    return LECO_OK;
}

static leco_status read_config(const json_t *root, const char *path, void *config, leco_error *err)
{
    vae_config *c = config;
    int64_t groups = 0, sides[2];
    LECO_TRY(config_check_model(root, path, "AutoencoderKL", keys, err));
    LECO_TRY(config_get_length(root, path, "block_out_channels", VAE_MAX_LEVELS, &c->level_count, err));
    LECO_TRY(config_get_ints(root, path, "block_out_channels", 0, 1, 65536, c->channels, c->level_count, err));
    LECO_TRY(check_blocks(root, path, "down_block_types", "DownEncoderBlock2D", c->level_count, err));
    LECO_TRY(check_blocks(root, path, "up_block_types", "UpDecoderBlock2D", c->level_count, err));
    LECO_TRY(json_get_int(root, path, "in_channels", 3, 3, 3, &c->in_channels, err));
    LECO_TRY(json_get_int(root, path, "out_channels", 3, 3, 3, &c->out_channels, err));
    LECO_TRY(json_get_int(root, path, "latent_channels", 4, 1, 4096, &c->latent_channels, err));
    LECO_TRY(json_get_int(root, path, "layers_per_block", 1, 1, 16, &c->layers, err));
    LECO_TRY(json_get_int(root, path, "norm_num_groups", 32, 1, 65536, &groups, err));
    LECO_TRY(config_get_ints(root, path, "sample_size", 32, 1, 65536, sides, 2, err));
    LECO_TRY(config_get_number(root, path, "scaling_factor", 0.18215, 1e-6, 1e6, &c->scaling_factor, err));
    LECO_TRY(json_get_bool(root, path, "use_quant_conv", true, &c->quant_conv, err));
    LECO_TRY(json_get_bool(root, path, "use_post_quant_conv", true, &c->post_quant_conv, err));
    LECO_TRY(json_get_bool(root, path, "mid_block_add_attention", true, &c->mid_attention, err));
    for (int64_t i = 0; i < c->level_count; i++)
        if (c->channels[i] % groups != 0)
            return error_set(err, LECO_INVALID, "%s: key \"norm_num_groups\": %lld groups don't divide %lld channels",
                             path, (long long)groups, (long long)c->channels[i]);
    c->norm_groups = (int)groups;
    return LECO_OK;
}

leco_status vae_config_read(const char *folder, vae_config *config, leco_error *err)
{
    *config = (vae_config){0};
    return config_read(folder, "config.json", read_config, config, err);
}

int64_t vae_factor(const vae_config *config)
{
    return INT64_C(1) << (config->level_count - 1);
}

/* ---- what both halves share ---- */

static tensor *resnet(nn *c, const vae_config *config, int64_t index, tensor *x, int64_t out)
{
    char name[32];
    snprintf(name, sizeof name, "resnets.%lld", (long long)index);
    return block_resnet(c, name, x, NULL, out, config->norm_groups, NORM_EPS);
}

/* One head over all positions. Files from before diffusers 0.17 name its layers query, key, value and proj_attn. */
static tensor *mid_attention(nn *c, const vae_config *config, tensor *x)
{
    if (!x) return NULL;
    nn_mark mark = nn_enter(c, "attentions.0");
    int64_t width = shape_last(&x->shape);
    bool old = !nn_has(c, "to_q.weight");
    tensor *h = nn_group_norm(c, "group_norm", x, config->norm_groups, NORM_EPS, false);
    tensor *q = nn_linear(c, old ? "query" : "to_q", h, width, true, NULL);
    tensor *k = nn_linear(c, old ? "key" : "to_k", h, width, true, NULL);
    tensor *v = nn_linear(c, old ? "value" : "to_v", h, width, true, NULL);
    tensor *o = op_attention(c->g, q, k, v, 1, 0.0f, false);
    o = nn_linear(c, old ? "proj_attn" : "to_out.0", o, width, true, x);
    nn_leave(c, mark);
    return o;
}

static tensor *mid_block(nn *c, const vae_config *config, tensor *x)
{
    nn_mark mark = nn_enter(c, "mid_block");
    int64_t width = config->channels[config->level_count - 1];
    x = resnet(c, config, 0, x, width);
    if (config->mid_attention) x = mid_attention(c, config, x);
    x = resnet(c, config, 1, x, width);
    nn_leave(c, mark);
    return x;
}

/* ---- encoder ---- */

static tensor *encoder(nn *c, const vae_config *config, tensor *x)
{
    nn_mark mark = nn_enter(c, "encoder");
    x = nn_conv2d(c, "conv_in", x, config->channels[0], 3, NULL);
    for (int64_t i = 0; i < config->level_count; i++) {
        nn_mark block = nn_enter(c, "down_blocks.%lld", (long long)i);
        for (int64_t j = 0; j < config->layers; j++) x = resnet(c, config, j, x, config->channels[i]);
        /* Padded at the bottom and the right only, unlike the U-Net's. */
        if (i + 1 < config->level_count) x = block_downsample(c, "downsamplers.0", x, (const int[4]){0, 0, 1, 1});
        nn_leave(c, block);
    }
    x = mid_block(c, config, x);
    x = nn_group_norm(c, "conv_norm_out", x, config->norm_groups, NORM_EPS, true);
    x = nn_conv2d(c, "conv_out", x, 2 * config->latent_channels, 3, NULL);
    nn_leave(c, mark);
    return x;
}

vae_encoder vae_encoder_build(nn *c, const vae_config *config, int64_t batch, int64_t height, int64_t width)
{
    vae_encoder e = {0};
    int64_t factor = vae_factor(config), latent = config->latent_channels;
    if (height % factor != 0 || width % factor != 0)
        graph_fail(c->g, LECO_INVALID, "a picture of %lldx%lld pixels: sides must be multiples of %lld",
                   (long long)width, (long long)height, (long long)factor);
    e.sample = graph_input(c->g, "sample", graph_dtype(c->g), SHAPE(batch, height, width, config->in_channels));
    tensor *moments = encoder(c, config, e.sample);
    if (config->quant_conv) moments = nn_conv2d(c, "quant_conv", moments, 2 * latent, 1, NULL);
    e.mean = op_slice(c->g, moments, 0, latent);
    e.logvar = op_slice(c->g, moments, latent, latent);
    if (e.mean) graph_result(c->g, e.mean);
    if (e.logvar) graph_result(c->g, e.logvar);
    return e;
}

/* ---- decoder ---- */

static tensor *decoder(nn *c, const vae_config *config, tensor *x)
{
    nn_mark mark = nn_enter(c, "decoder");
    int64_t count = config->level_count;
    x = nn_conv2d(c, "conv_in", x, config->channels[count - 1], 3, NULL);
    x = mid_block(c, config, x);
    for (int64_t i = 0; i < count; i++) {
        nn_mark block = nn_enter(c, "up_blocks.%lld", (long long)i);
        for (int64_t j = 0; j <= config->layers; j++) x = resnet(c, config, j, x, config->channels[count - 1 - i]);
        if (i + 1 < count && x) x = block_upsample(c, "upsamplers.0", x, 2 * x->shape.dim[1], 2 * x->shape.dim[2]);
        nn_leave(c, block);
    }
    x = nn_group_norm(c, "conv_norm_out", x, config->norm_groups, NORM_EPS, true);
    x = nn_conv2d(c, "conv_out", x, config->out_channels, 3, NULL);
    nn_leave(c, mark);
    return x;
}

vae_decoder vae_decoder_build(nn *c, const vae_config *config, int64_t batch, int64_t height, int64_t width)
{
    vae_decoder d = {0};
    int64_t latent = config->latent_channels;
    d.latents = graph_input(c->g, "latents", graph_dtype(c->g), SHAPE(batch, height, width, latent));
    tensor *x = d.latents;
    if (config->post_quant_conv) x = nn_conv2d(c, "post_quant_conv", x, latent, 1, NULL);
    d.sample = decoder(c, config, x);
    if (d.sample) graph_result(c->g, d.sample);
    return d;
}
