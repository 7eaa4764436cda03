/* A U-Net's config.json, and the list of layers of the U-Net that it describes. */
#include "fuzz.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

const char *const fuzz_words[] = {"\"_class_name\": ",
                                  "\"sample_size\": [8, 16],\n",
                                  "\"attention_head_dim\": ",
                                  "\"num_attention_heads\": ",
                                  "\"cross_attention_dim\": ",
                                  "\"transformer_layers_per_block\": ",
                                  "\"layers_per_block\": ",
                                  "\"block_out_channels\": ",
                                  "\"only_cross_attention\": ",
                                  "\"addition_embed_type\": \"text_time\",\n",
                                  "\"addition_time_embed_dim\": 8,\n",
                                  "\"projection_class_embeddings_input_dim\": 60,\n",
                                  "\"norm_num_groups\": ",
                                  "\"norm_eps\": ",
                                  "\"freq_shift\": ",
                                  "\"use_linear_projection\": true,\n",
                                  "\"UpBlock2D\"",
                                  "\"CrossAttnUpBlock2D\"",
                                  "\"DownBlock2D\"",
                                  "\"CrossAttnDownBlock2D\"",
                                  "\"UNetMidBlock2DCrossAttn\"",
                                  "[8, 16]",
                                  "[1, 2]",
                                  "[]",
                                  "{}",
                                  "false",
                                  NULL};

static const char *const names[] = {"config.json", NULL};

static void check_between(int64_t value, int64_t low, int64_t high)
{
    FUZZ_CHECK(value >= low && value <= high);
}

static void check_config(const unet_config *c)
{
    check_between(c->level_count, 1, UNET_MAX_LEVELS);
    check_between(c->in_channels, 1, 65536);
    check_between(c->out_channels, 1, 65536);
    check_between(c->norm_groups, 1, 65536);
    FUZZ_CHECK(c->norm_eps >= 0.99e-12f && c->norm_eps <= 1 && c->freq_shift >= 0 && c->freq_shift <= 1);
    for (int64_t i = 0; i < c->level_count; i++) {
        const unet_level *l = &c->level[i];
        check_between(l->channels, 1, 65536);
        check_between(l->heads, 1, 65536);
        check_between(l->layers, 1, 16);
        check_between(l->transformer_layers, 1, 64);
        check_between(l->cross_attention_dim, 1, 65536);
        FUZZ_CHECK(l->channels % c->norm_groups == 0);
        FUZZ_CHECK(!(l->down_attention || l->up_attention) || l->channels % l->heads == 0);
    }
    FUZZ_CHECK(c->addition_time_embed_dim == 0 || (c->addition_time_embed_dim % 2 == 0 && unet_pooled_width(c) > 0));
    FUZZ_CHECK(c->addition_time_embed_dim > 0 || unet_pooled_width(c) == 0);
}

/* ---- what was read, written and read again is the same ----
 *
 * The least number that may be read is less than itself once it is a float: hence fmax. */

static json_t *written(const unet_config *c)
{
    json_t *channels = json_array(), *heads = json_array(), *layers = json_array(), *transformers = json_array(),
           *down = json_array(), *up = json_array();
    for (int64_t i = 0; i < c->level_count; i++) {
        const unet_level *l = &c->level[i], *opposite = &c->level[c->level_count - 1 - i];
        json_array_append_new(channels, json_integer(l->channels));
        json_array_append_new(heads, json_integer(l->heads));
        json_array_append_new(layers, json_integer(l->layers));
        json_array_append_new(transformers, json_integer(l->transformer_layers));
        json_array_append_new(down, json_string(l->down_attention ? "CrossAttnDownBlock2D" : "DownBlock2D"));
        json_array_append_new(up, json_string(opposite->up_attention ? "CrossAttnUpBlock2D" : "UpBlock2D"));
    }
    json_t *o = json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:i, s:f, s:f, s:b, s:b}", "_class_name",
                          "UNet2DConditionModel", "block_out_channels", channels, "attention_head_dim", heads,
                          "layers_per_block", layers, "transformer_layers_per_block", transformers, "down_block_types",
                          down, "up_block_types", up, "in_channels", (json_int_t)c->in_channels, "out_channels",
                          (json_int_t)c->out_channels, "cross_attention_dim", (json_int_t)unet_context_width(c),
                          "norm_num_groups", c->norm_groups, "norm_eps", fmax((double)c->norm_eps, 1e-12), "freq_shift",
                          (double)c->freq_shift, "flip_sin_to_cos", (int)c->flip_sin_to_cos, "use_linear_projection",
                          (int)c->use_linear_projection);
    FUZZ_CHECK(o);
    if (c->addition_time_embed_dim) {
        json_object_set_new(o, "addition_embed_type", json_string("text_time"));
        json_object_set_new(o, "addition_time_embed_dim", json_integer(c->addition_time_embed_dim));
        json_object_set_new(o, "projection_class_embeddings_input_dim", json_integer(c->addition_embed_input_dim));
    }
    return o;
}

static void check_again(const unet_config *c)
{
    leco_error err = {0};
    unet_config again;
    json_t *o = written(c);
    char *text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
    FUZZ_CHECK(text && unet_config_read(fuzz_again("config.json", text), &again, &err) == LECO_OK);
    json_t *o_again = written(&again);
    FUZZ_CHECK(json_equal(o, o_again));
    json_decref(o_again);
    json_decref(o);
    free(text);
}

/* A U-Net of any size is built without being run; of many layers it would only take longer. */
static void check_layers(const unet_config *c)
{
    leco_error err = {0};
    const layer_list *list = NULL;
    model m = {.unet = *c};
    int64_t layers = 0;
    for (int64_t i = 0; i < c->level_count; i++) layers += c->level[i].layers * (1 + c->level[i].transformer_layers);
    if (layers > 24) return;
    leco_status status = model_layers(&m, PART_UNET, &list, &err);
    if (status != LECO_OK) {
        FUZZ_REFUSED(status, &err);
        FUZZ_CHECK(!list);
        return;
    }
    FUZZ_CHECK(list->count > 0);
    for (size_t i = 0; i < list->count; i++) {
        const layer_info *l = &list->layer[i];
        FUZZ_CHECK(l->path[0] && l->in > 0 && l->out > 0 && (l->kernel == 1 || l->kernel == 3));
    }
    model_free_layers(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    unet_config config;
    fuzz_part parts[FUZZ_MAX_PARTS] = {{data, size}};
    leco_status status = unet_config_read(fuzz_folder(names, parts), &config, &err);
    fuzz_accepted = status == LECO_OK;
    if (fuzz_accepted) {
        check_config(&config);
        check_again(&config);
        check_layers(&config);
    } else {
        FUZZ_REFUSED(status, &err);
    }
    return 0;
}

bool fuzz_seed(unsigned index, const char *path)
{
    static const char *const files[] = {
        "tests/parity/fixtures/odd/unet/config.json", "tests/parity/fixtures/sd1-like/unet/config.json",
        "tests/parity/fixtures/sd2-like/unet/config.json", "tests/parity/fixtures/sdxl-like/unet/config.json"};
    if (index < 4) fuzz_put_file(path, files[index]);
    if (index == 4)
        fuzz_put(path, "{\"_class_name\": \"UNet2DConditionModel\", \"block_out_channels\": [4],\n"
                       "\"down_block_types\": [\"CrossAttnDownBlock2D\"],\n\"up_block_types\": [\"UpBlock2D\"],\n"
                       "\"norm_num_groups\": 2,\n\"attention_head_dim\": 2,\n\"sample_size\": [8, 16],\n"
                       "\"layers_per_block\": [1],\n\"only_cross_attention\": [false]\n}\n");
    return index < 5;
}
