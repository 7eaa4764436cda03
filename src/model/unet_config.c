#include <stdio.h>
#include <string.h>

#include "model/config_json.h"
#include "model/unet.h"

#define MOST_CHANNELS 65536

/* Every key of diffusers' UNet2DConditionModel (0.35 to 0.42). */
static const config_key keys[] = {
    /* read */
    {"sample_size", NULL},
    {"in_channels", "*a whole number"},
    {"out_channels", "*a whole number"},
    {"block_out_channels", "*a list of whole numbers"},
    {"layers_per_block", "*a whole number, or a list of them"},
    {"transformer_layers_per_block", "*a whole number, or a list of them"},
    {"attention_head_dim", "*a whole number, or a list of them"},
    {"num_attention_heads", NULL},
    {"cross_attention_dim", "*a whole number, or a list of them"},
    {"down_block_types", "*a list of names"},
    {"up_block_types", "*a list of names"},
    {"only_cross_attention", NULL},
    {"norm_num_groups", "*a whole number"},
    {"norm_eps", "*a number"},
    {"flip_sin_to_cos", "*true or false"},
    {"freq_shift", "*a number"},
    {"use_linear_projection", NULL},
    {"addition_embed_type", "\"text_time\"|null"},
    {"addition_time_embed_dim", NULL},
    {"projection_class_embeddings_input_dim", NULL},
    /* no matter */
    {"addition_embed_type_num_heads", NULL}, /* of another addition_embed_type */
    {"dropout", NULL},                       /* adapters are trained with the model in evaluation mode */
    {"upcast_attention", NULL},              /* softmax is in f32 always */
    /* other arithmetic */
    {"center_input_sample", "false|null"},
    {"mid_block_type", "\"UNetMidBlock2DCrossAttn\""},
    {"mid_block_scale_factor", "1"},
    {"mid_block_only_cross_attention", "false|null"},
    {"downsample_padding", "1"},
    {"act_fn", "\"silu\"|\"swish\""},
    {"dual_cross_attention", "false|null"},
    {"class_embed_type", "null"},
    {"num_class_embeds", "null"},
    {"class_embeddings_concat", "false|null"},
    {"resnet_time_scale_shift", "\"default\""},
    {"resnet_skip_time_act", "false|null"},
    {"resnet_out_scale_factor", "1"},
    {"time_embedding_type", "\"positional\""},
    {"time_embedding_dim", "null"},
    {"time_embedding_act_fn", "null"},
    {"timestep_post_act", "null"},
    {"time_cond_proj_dim", "null"},
    {"encoder_hid_dim", "null"},
    {"encoder_hid_dim_type", "null"},
    {"reverse_transformer_layers_per_block", "null"},
    {"cross_attention_norm", "null"},
    {"conv_in_kernel", "3"},
    {"conv_out_kernel", "3"},
    {"attention_type", "\"default\""},
    {NULL, NULL},
};

/* Is each element of the list `key` one of `with` (attention) or `without`? */
static leco_status read_blocks(const json_t *root, const char *path, const char *key, const char *with,
                               const char *without, int64_t count, bool *attention, leco_error *err)
{
    const json_t *list = json_object_get(root, key);
    if (!json_is_array(list) || json_array_size(list) != (size_t)count)
        return error_set(err, LECO_INVALID, "%s: key \"%s\": expected a list of %lld names, as in block_out_channels",
                         path, key, (long long)count);
    for (int64_t i = 0; i < count; i++) {
        const json_t *element = json_array_get(list, (size_t)i);
        const char *name = json_is_text(element) ? json_string_value(element) : "";
        attention[i] = strcmp(name, with) == 0;
        if (!attention[i] && strcmp(name, without) != 0) {
            char supported[64];
            snprintf(supported, sizeof supported, "%s and %s", with, without);
            return config_refuse(element, path, key, supported, err);
        }
    }
    return LECO_OK;
}

static leco_status refuse_only_cross_attention(const json_t *root, const char *path, leco_error *err)
{
    const json_t *value = json_object_get(root, "only_cross_attention");
    size_t index;
    json_t *element;
    if (json_is_true(value)) return config_refuse(value, path, "only_cross_attention", "false", err);
    json_array_foreach(value, index, element) {
        if (!json_is_false(element)) return config_refuse(value, path, "only_cross_attention", "false", err);
    }
    return LECO_OK;
}

static leco_status read_levels(const json_t *root, const char *path, unet_config *c, leco_error *err)
{
    int64_t n = 0, channels[UNET_MAX_LEVELS], heads[UNET_MAX_LEVELS], layers[UNET_MAX_LEVELS],
            transformers[UNET_MAX_LEVELS], context[UNET_MAX_LEVELS];
    bool down[UNET_MAX_LEVELS], up[UNET_MAX_LEVELS];
    LECO_TRY(config_get_length(root, path, "block_out_channels", UNET_MAX_LEVELS, &n, err));
    LECO_TRY(config_get_ints(root, path, "block_out_channels", 0, 1, MOST_CHANNELS, channels, n, err));
    LECO_TRY(config_get_ints(root, path, "layers_per_block", 2, 1, 16, layers, n, err));
    LECO_TRY(config_get_ints(root, path, "transformer_layers_per_block", 1, 1, 64, transformers, n, err));
    LECO_TRY(config_get_ints(root, path, "cross_attention_dim", 1280, 1, MOST_CHANNELS, context, n, err));
    /* diffusers' attention_head_dim is the number of heads, whatever its name says; it refuses the one that says so. */
    const json_t *by_name = json_object_get(root, "num_attention_heads");
    if (by_name && !json_is_null(by_name))
        return config_refuse(by_name, path, "num_attention_heads",
                             "without that key, as diffusers does: attention_head_dim is the number of heads", err);
    LECO_TRY(config_get_ints(root, path, "attention_head_dim", 8, 1, MOST_CHANNELS, heads, n, err));
    LECO_TRY(read_blocks(root, path, "down_block_types", "CrossAttnDownBlock2D", "DownBlock2D", n, down, err));
    LECO_TRY(read_blocks(root, path, "up_block_types", "CrossAttnUpBlock2D", "UpBlock2D", n, up, err));
    c->level_count = n;
    for (int64_t i = 0; i < n; i++) {
        bool attention = down[i] || up[n - 1 - i] || i == n - 1;
        if (attention && channels[i] % heads[i] != 0)
            return error_set(err, LECO_INVALID, "%s: key \"attention_head_dim\": %lld heads don't divide %lld channels",
                             path, (long long)heads[i], (long long)channels[i]);
        if (context[i] != context[0])
            return error_set(err, LECO_UNSUPPORTED, "%s: key \"cross_attention_dim\": differs between blocks", path);
        c->level[i] =
            (unet_level){channels[i], heads[i], layers[i], transformers[i], context[i], down[i], up[n - 1 - i]};
    }
    return LECO_OK;
}

/* diffusers before 0.9.0 saved 32 for models of 64; StableDiffusionPipeline has mended that ever since. */
static bool is_before_0_9(const json_t *root)
{
    int major, minor;
    const char *version = json_string_value(json_object_get(root, "_diffusers_version"));
    return version && sscanf(version, "%3d.%3d", &major, &minor) == 2 && major == 0 && minor < 9;
}

static leco_status read_sample_size(const json_t *root, const char *path, unet_config *c, leco_error *err)
{
    int64_t sides[2];
    LECO_TRY(config_get_ints(root, path, "sample_size", 64, 1, MOST_CHANNELS, sides, 2, err));
    bool small = json_is_integer(json_object_get(root, "sample_size")) && sides[0] < 64;
    c->sample_height = small && is_before_0_9(root) ? 64 : sides[0];
    c->sample_width = small && is_before_0_9(root) ? 64 : sides[1];
    return LECO_OK;
}

static leco_status read_added(const json_t *root, const char *path, unet_config *c, leco_error *err)
{
    const char *type;
    LECO_TRY(json_get_string(root, path, "addition_embed_type", "", &type, err));
    if (!type[0]) return LECO_OK;
    LECO_TRY(
        json_get_int(root, path, "addition_time_embed_dim", -1, 4, MOST_CHANNELS, &c->addition_time_embed_dim, err));
    LECO_TRY(json_get_int(root, path, "projection_class_embeddings_input_dim", -1, 1, MOST_CHANNELS,
                          &c->addition_embed_input_dim, err));
    if (c->addition_time_embed_dim < 4 || c->addition_time_embed_dim % 2 != 0 || unet_pooled_width(c) < 1)
        return error_set(err, LECO_INVALID,
                         "%s: keys \"addition_time_embed_dim\" and \"projection_class_embeddings_input_dim\" are "
                         "needed for addition_embed_type text_time, the first even, the second more than %d times it",
                         path, UNET_TIME_IDS);
    return LECO_OK;
}

static leco_status read_config(const json_t *root, const char *path, void *config, leco_error *err)
{
    unet_config *c = config;
    int64_t groups = 0;
    LECO_TRY(config_check_model(root, path, "UNet2DConditionModel", keys, err));
    LECO_TRY(refuse_only_cross_attention(root, path, err));
    LECO_TRY(read_levels(root, path, c, err));
    LECO_TRY(read_sample_size(root, path, c, err));
    LECO_TRY(json_get_int(root, path, "in_channels", 4, 1, MOST_CHANNELS, &c->in_channels, err));
    LECO_TRY(json_get_int(root, path, "out_channels", 4, 1, MOST_CHANNELS, &c->out_channels, err));
    LECO_TRY(json_get_int(root, path, "norm_num_groups", 32, 1, MOST_CHANNELS, &groups, err));
    LECO_TRY(config_get_number(root, path, "norm_eps", 1e-5, 1e-12, 1, &c->norm_eps, err));
    LECO_TRY(config_get_number(root, path, "freq_shift", 0, 0, 1, &c->freq_shift, err));
    LECO_TRY(json_get_bool(root, path, "flip_sin_to_cos", true, &c->flip_sin_to_cos, err));
    LECO_TRY(json_get_bool(root, path, "use_linear_projection", false, &c->use_linear_projection, err));
    LECO_TRY(read_added(root, path, c, err));
    for (int64_t i = 0; i < c->level_count; i++)
        if (c->level[i].channels % groups != 0)
            return error_set(err, LECO_INVALID, "%s: key \"norm_num_groups\": %lld groups don't divide %lld channels",
                             path, (long long)groups, (long long)c->level[i].channels);
    if (c->level[0].channels % 2 != 0 || c->level[0].channels < 4)
        return error_set(err, LECO_UNSUPPORTED, "%s: key \"block_out_channels\": the first value is odd or below 4",
                         path);
    c->norm_groups = (int)groups;
    return LECO_OK;
}

leco_status unet_config_read(const char *folder, unet_config *config, leco_error *err)
{
    *config = (unet_config){0};
    return config_read(folder, "config.json", read_config, config, err);
}

int64_t unet_context_width(const unet_config *config)
{
    return config->level[0].cross_attention_dim;
}

int64_t unet_pooled_width(const unet_config *config)
{
    if (config->addition_time_embed_dim == 0) return 0;
    return config->addition_embed_input_dim - UNET_TIME_IDS * config->addition_time_embed_dim;
}
