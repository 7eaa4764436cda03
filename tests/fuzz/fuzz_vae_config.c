/* A VAE's config.json, and the two graphs that it describes. */
#include "fuzz.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/vae.h"

const char *const fuzz_words[] = {"\"_class_name\": ",
                                  "\"block_out_channels\": ",
                                  "\"layers_per_block\": ",
                                  "\"norm_num_groups\": ",
                                  "\"scaling_factor\": ",
                                  "\"use_quant_conv\": false,\n",
                                  "\"mid_block_add_attention\": false,\n",
                                  "\"force_upcast\": ",
                                  "\"shift_factor\": 0.0,\n",
                                  "\"latent_channels\": ",
                                  "\"DownEncoderBlock2D\"",
                                  "\"UpDecoderBlock2D\"",
                                  "\"swish\"",
                                  "[8, 16]",
                                  "[]",
                                  "{}",
                                  "false",
                                  NULL};

static const char *const names[] = {"config.json", NULL};

static void check_config(const vae_config *c)
{
    FUZZ_CHECK(c->in_channels == 3 && c->out_channels == 3 && c->latent_channels >= 1 && c->latent_channels <= 4096);
    FUZZ_CHECK(c->level_count >= 1 && c->level_count <= VAE_MAX_LEVELS && c->layers >= 1 && c->layers <= 16);
    FUZZ_CHECK(c->norm_groups >= 1);
    FUZZ_CHECK(c->scaling_factor >= 0.99e-6f && c->scaling_factor <= 1.01e6f);
    for (int64_t i = 0; i < c->level_count; i++)
        FUZZ_CHECK(c->channels[i] >= 1 && c->channels[i] <= 65536 && c->channels[i] % c->norm_groups == 0);
}

/* ---- what was read, written and read again is the same ----
 *
 * The least number that may be read is less than itself once it is a float: hence fmax. */

static json_t *written(const vae_config *c)
{
    json_t *channels = json_array(), *down = json_array(), *up = json_array();
    for (int64_t i = 0; i < c->level_count; i++) {
        json_array_append_new(channels, json_integer(c->channels[i]));
        json_array_append_new(down, json_string("DownEncoderBlock2D"));
        json_array_append_new(up, json_string("UpDecoderBlock2D"));
    }
    json_t *o = json_pack("{s:s, s:o, s:o, s:o, s:I, s:I, s:i, s:f, s:b, s:b, s:b}", "_class_name", "AutoencoderKL",
                          "block_out_channels", channels, "down_block_types", down, "up_block_types", up,
                          "latent_channels", (json_int_t)c->latent_channels, "layers_per_block", (json_int_t)c->layers,
                          "norm_num_groups", c->norm_groups, "scaling_factor", fmax((double)c->scaling_factor, 1e-6),
                          "use_quant_conv", (int)c->quant_conv, "use_post_quant_conv", (int)c->post_quant_conv,
                          "mid_block_add_attention", (int)c->mid_attention);
    FUZZ_CHECK(o);
    return o;
}

static void check_again(const vae_config *c)
{
    leco_error err = {0};
    vae_config again;
    json_t *o = written(c);
    char *text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
    FUZZ_CHECK(text && vae_config_read(fuzz_again("config.json", text), &again, &err) == LECO_OK);
    json_t *o_again = written(&again);
    FUZZ_CHECK(json_equal(o, o_again));
    json_decref(o_again);
    json_decref(o);
    free(text);
}

/* A VAE of any size is built without being run; of many layers it would only take longer. */
static void check_graphs(const vae_config *c)
{
    leco_error err = {0};
    if (c->level_count * c->layers > 12) return;
    graph *g = graph_create(DTYPE_F32);
    weights *w = weights_blank();
    FUZZ_CHECK(g && w);
    nn context;
    nn_init(&context, g, w, NULL, PART_VAE);
    vae_encoder_build(&context, c, 1, vae_factor(c), vae_factor(c));
    vae_decoder_build(&context, c, 1, 1, 1);
    leco_status status = graph_finish(g, &err);
    if (status != LECO_OK) FUZZ_REFUSED(status, &err);
    graph_destroy(g);
    weights_close(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    vae_config config;
    fuzz_part parts[FUZZ_MAX_PARTS] = {{data, size}};
    leco_status status = vae_config_read(fuzz_folder(names, parts), &config, &err);
    fuzz_accepted = status == LECO_OK;
    if (fuzz_accepted) {
        check_config(&config);
        check_again(&config);
        check_graphs(&config);
    } else {
        FUZZ_REFUSED(status, &err);
    }
    return 0;
}

bool fuzz_seed(unsigned index, const char *path)
{
    static const char *const files[] = {
        "models/shapes/vae/config.json", "tests/parity/fixtures/sd1-like/vae/config.json",
        "tests/parity/fixtures/vae-mid/vae/config.json", "tests/parity/fixtures/vae-nomid/vae/config.json"};
    if (index < 4) fuzz_put_file(path, files[index]);
    if (index == 4)
        fuzz_put(path, "{\"_class_name\": \"AutoencoderKL\",\n\"block_out_channels\": [4],\n\"norm_num_groups\": 2,\n"
                       "\"down_block_types\": [\"DownEncoderBlock2D\"],\n\"up_block_types\": [\"UpDecoderBlock2D\"],\n"
                       "\"shift_factor\": 0.0\n}\n");
    return index < 5;
}
