/* A text encoder's config.json, and the list of layers of the encoder that it describes. */
#include "fuzz.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"

const char *const fuzz_words[] = {"\"architectures\": [\"CLIPTextModelWithProjection\"],\n",
                                  "\"CLIPTextModel\"",
                                  "\"model_type\": \"clip_text_model\",\n",
                                  "\"hidden_act\": ",
                                  "\"gelu\"",
                                  "\"quick_gelu\"",
                                  "\"projection_dim\": ",
                                  "\"vocab_size\": ",
                                  "\"hidden_size\": ",
                                  "\"intermediate_size\": ",
                                  "\"max_position_embeddings\": ",
                                  "\"num_hidden_layers\": ",
                                  "\"num_attention_heads\": ",
                                  "\"eos_token_id\": ",
                                  "\"layer_norm_eps\": ",
                                  "[]",
                                  "{}",
                                  NULL};

static const char *const names[] = {"config.json", NULL};

static void check_between(int64_t value, int64_t low, int64_t high)
{
    FUZZ_CHECK(value >= low && value <= high);
}

static void check_config(const text_config *c)
{
    check_between(c->vocab_size, 1, INT32_MAX);
    check_between(c->hidden_size, 1, 65536);
    check_between(c->intermediate_size, 1, 1 << 20);
    check_between(c->max_positions, 1, 65536);
    check_between(c->layers, 1, 256);
    check_between(c->heads, 1, c->hidden_size);
    check_between(c->eos_token_id, 0, INT32_MAX);
    check_between(c->projection_dim, 0, 65536);
    FUZZ_CHECK(c->hidden_size % c->heads == 0 && (c->act == ACT_GELU || c->act == ACT_QUICK_GELU));
    FUZZ_CHECK(c->norm_eps >= 0.99e-12f && c->norm_eps <= 1);
}

/* ---- what was read, written and read again is the same ----
 *
 * The least number that may be read is less than itself once it is a float: hence fmax. */

static json_t *written(const text_config *c)
{
    json_t *o = json_pack("{s:[s], s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:s}", "architectures",
                          c->projection_dim ? "CLIPTextModelWithProjection" : "CLIPTextModel", "vocab_size",
                          (json_int_t)c->vocab_size, "hidden_size", (json_int_t)c->hidden_size, "intermediate_size",
                          (json_int_t)c->intermediate_size, "max_position_embeddings", (json_int_t)c->max_positions,
                          "num_hidden_layers", (json_int_t)c->layers, "num_attention_heads", (json_int_t)c->heads,
                          "eos_token_id", (json_int_t)c->eos_token_id, "layer_norm_eps",
                          fmax((double)c->norm_eps, 1e-12), "hidden_act", c->act == ACT_GELU ? "gelu" : "quick_gelu");
    FUZZ_CHECK(o);
    if (c->projection_dim) json_object_set_new(o, "projection_dim", json_integer(c->projection_dim));
    return o;
}

static void check_again(const text_config *c)
{
    leco_error err = {0};
    text_config again;
    json_t *o = written(c);
    char *text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
    FUZZ_CHECK(text && text_config_read(fuzz_again("config.json", text), &again, &err) == LECO_OK);
    json_t *o_again = written(&again);
    FUZZ_CHECK(json_equal(o, o_again));
    json_decref(o_again);
    json_decref(o);
    free(text);
}

/* An encoder of any size is built without being run; of many layers it would only take longer. */
static void check_layers(const text_config *c)
{
    leco_error err = {0};
    const layer_list *list = NULL;
    model m = {.text = *c};
    if (c->layers > 12) return;
    leco_status status = model_layers(&m, PART_TEXT_ENCODER, &list, &err);
    if (status != LECO_OK)
        FUZZ_REFUSED(status, &err);
    else
        FUZZ_CHECK(list->count == (size_t)(1 + 6 * c->layers + (c->projection_dim > 0)));
    model_free_layers(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    text_config config;
    fuzz_part parts[FUZZ_MAX_PARTS] = {{data, size}};
    leco_status status = text_config_read(fuzz_folder(names, parts), &config, &err);
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
    static const char *const files[] = {"models/shapes/text_encoder/config.json",
                                        "tests/parity/fixtures/sd2-like/text_encoder/config.json",
                                        "tests/parity/fixtures/sdxl-like/text_encoder/config.json",
                                        "tests/parity/fixtures/sdxl-like/text_encoder_2/config.json"};
    if (index < 4) fuzz_put_file(path, files[index]);
    if (index == 4) fuzz_put(path, "{\"layer_norm_eps\": 1e-12}\n");
    return index < 5;
}
