#include "model/text_encoder.h"

#include <string.h>

#include "model/config_json.h"
#include "op/op.h"

#define LEGACY_EOS 2 /* in configs from before transformers read the end token's true id from there */

/* ---- configuration ---- */

/* Every key of transformers' CLIPTextConfig, and of the class that all its configs descend from (4.57 to 5.24). */
static const config_key keys[] = {
    /* read */
    {"vocab_size", "*a whole number"},
    {"hidden_size", "*a whole number"},
    {"intermediate_size", "*a whole number"},
    {"max_position_embeddings", "*a whole number"},
    {"num_hidden_layers", "*a whole number"},
    {"num_attention_heads", "*a whole number"},
    {"hidden_act", "*quick_gelu or gelu"},
    {"layer_norm_eps", "*a number"},
    {"eos_token_id", NULL},
    {"projection_dim", NULL},
    {"model_type", NULL},
    {"architectures", NULL},
    /* other arithmetic */
    {"use_attention_mask", "false|null"}, /* diffusers: whether tokens look at the padding */
    {"quantization_config", "null"},
    {"pruned_heads", "{}|null"},
    /* training only */
    {"dropout", NULL},
    {"attention_dropout", NULL},
    {"initializer_range", NULL},
    {"initializer_factor", NULL},
    /* the tokenizer says which these are */
    {"pad_token_id", NULL},
    {"bos_token_id", NULL},
    {"sep_token_id", NULL},
    {"tokenizer_class", NULL},
    /* of how transformers holds a model and gives results */
    {"dtype", NULL},
    {"torch_dtype", NULL},
    {"transformers_version", NULL},
    {"name_or_path", NULL},
    {"attn_implementation", NULL},
    {"auto_map", NULL},
    {"return_dict", NULL},
    {"output_hidden_states", NULL},
    {"output_attentions", NULL},
    {"torchscript", NULL},
    {"use_cache", NULL},
    {"use_bfloat16", NULL},
    {"tf_legacy_loss", NULL},
    {"gradient_checkpointing", NULL},
    {"chunk_size_feed_forward", NULL},
    {"tie_word_embeddings", NULL},
    {"tie_encoder_decoder", NULL},
    /* of decoders, classifiers and generators of text, which this isn't */
    {"is_decoder", NULL},
    {"is_encoder_decoder", NULL},
    {"add_cross_attention", NULL},
    {"cross_attention_hidden_size", NULL},
    {"decoder_start_token_id", NULL},
    {"finetuning_task", NULL},
    {"task_specific_params", NULL},
    {"problem_type", NULL},
    {"id2label", NULL},
    {"label2id", NULL},
    {"num_labels", NULL},
    {"prefix", NULL},
    {"bad_words_ids", NULL},
    {"begin_suppress_tokens", NULL},
    {"diversity_penalty", NULL},
    {"do_sample", NULL},
    {"early_stopping", NULL},
    {"encoder_no_repeat_ngram_size", NULL},
    {"exponential_decay_length_penalty", NULL},
    {"forced_bos_token_id", NULL},
    {"forced_eos_token_id", NULL},
    {"length_penalty", NULL},
    {"max_length", NULL},
    {"min_length", NULL},
    {"no_repeat_ngram_size", NULL},
    {"num_beam_groups", NULL},
    {"num_beams", NULL},
    {"num_return_sequences", NULL},
    {"output_scores", NULL},
    {"remove_invalid_values", NULL},
    {"repetition_penalty", NULL},
    {"return_dict_in_generate", NULL},
    {"suppress_tokens", NULL},
    {"temperature", NULL},
    {"top_k", NULL},
    {"top_p", NULL},
    {"typical_p", NULL},
    {NULL, NULL},
};

static leco_status read_activation(const json_t *root, const char *path, activation *out, leco_error *err)
{
    const char *name;
    LECO_TRY(json_get_string(root, path, "hidden_act", "quick_gelu", &name, err));
    if (strcmp(name, "quick_gelu") == 0)
        *out = ACT_QUICK_GELU;
    else if (strcmp(name, "gelu") == 0)
        *out = ACT_GELU;
    else
        return config_refuse(json_object_get(root, "hidden_act"), path, "hidden_act", "quick_gelu and gelu", err);
    return LECO_OK;
}

/* Only CLIPTextModelWithProjection has a text_projection, although both classes' configs give projection_dim. */
static leco_status read_projection(const json_t *root, const char *path, int64_t *dim, leco_error *err)
{
    const json_t *list = json_object_get(root, "architectures");
    const json_t *first = json_array_get(list, 0);
    const char *name = json_is_text(first) ? json_string_value(first) : "CLIPTextModel";
    *dim = 0;
    if (strncmp(name, "Flax", 4) == 0) name += 4;
    if (strcmp(name, "CLIPTextModelWithProjection") == 0)
        return json_get_int(root, path, "projection_dim", 512, 1, 65536, dim, err);
    if (strcmp(name, "CLIPTextModel") != 0)
        return config_refuse(list, path, "architectures", "CLIPTextModel and CLIPTextModelWithProjection", err);
    return LECO_OK;
}

static leco_status read_config(const json_t *root, const char *path, void *config, leco_error *err)
{
    text_config *c = config;
    const char *type;
    LECO_TRY(json_get_string(root, path, "model_type", "clip_text_model", &type, err));
    if (strcmp(type, "clip_text_model") != 0)
        return config_refuse(json_object_get(root, "model_type"), path, "model_type", "clip_text_model", err);
    LECO_TRY(config_check(root, path, keys, CONFIG_WARN_OF_UNKNOWN, err));
    LECO_TRY(json_get_int(root, path, "vocab_size", 49408, 1, INT32_MAX, &c->vocab_size, err));
    LECO_TRY(json_get_int(root, path, "hidden_size", 512, 1, 65536, &c->hidden_size, err));
    LECO_TRY(json_get_int(root, path, "intermediate_size", 2048, 1, 1 << 20, &c->intermediate_size, err));
    LECO_TRY(json_get_int(root, path, "max_position_embeddings", 77, 1, 65536, &c->max_positions, err));
    LECO_TRY(json_get_int(root, path, "num_hidden_layers", 12, 1, 256, &c->layers, err));
    LECO_TRY(json_get_int(root, path, "num_attention_heads", 8, 1, 65536, &c->heads, err));
    LECO_TRY(json_get_int(root, path, "eos_token_id", 49407, 0, INT32_MAX, &c->eos_token_id, err));
    LECO_TRY(config_get_number(root, path, "layer_norm_eps", 1e-5, 1e-12, 1, &c->norm_eps, err));
    LECO_TRY(read_activation(root, path, &c->act, err));
    LECO_TRY(read_projection(root, path, &c->projection_dim, err));
    if (c->hidden_size % c->heads != 0)
        return error_set(err, LECO_INVALID, "%s: key \"num_attention_heads\": %lld heads don't divide hidden_size %lld",
                         path, (long long)c->heads, (long long)c->hidden_size);
    return LECO_OK;
}

leco_status text_config_read(const char *folder, text_config *config, leco_error *err)
{
    *config = (text_config){0};
    return config_read(folder, "config.json", read_config, config, err);
}

/* ---- the module ---- */

static tensor *self_attention(nn *c, const text_config *config, tensor *x, tensor *residual)
{
    nn_mark mark = nn_enter_block(c, LAYER_TEXT_ATTENTION, "self_attn");
    int64_t width = config->hidden_size;
    tensor *q = nn_linear(c, "q_proj", x, width, true, NULL);
    tensor *k = nn_linear(c, "k_proj", x, width, true, NULL);
    tensor *v = nn_linear(c, "v_proj", x, width, true, NULL);
    tensor *o = op_attention(c->g, q, k, v, (int)config->heads, 0.0f, true);
    o = nn_linear(c, "out_proj", o, width, true, residual);
    nn_leave(c, mark);
    return o;
}

static tensor *mlp(nn *c, const text_config *config, tensor *x, tensor *residual)
{
    nn_mark mark = nn_enter_block(c, LAYER_TEXT_MLP, "mlp");
    tensor *h = nn_linear(c, "fc1", x, config->intermediate_size, true, NULL);
    h = nn_linear(c, "fc2", op_activation(c->g, h, config->act), config->hidden_size, true, residual);
    nn_leave(c, mark);
    return h;
}

static tensor *layer(nn *c, const text_config *config, int64_t index, tensor *x)
{
    nn_mark mark = nn_enter(c, "encoder.layers.%lld", (long long)index);
    x = self_attention(c, config, nn_layer_norm(c, "layer_norm1", x, config->norm_eps), x);
    x = mlp(c, config, nn_layer_norm(c, "layer_norm2", x, config->norm_eps), x);
    nn_leave(c, mark);
    return x;
}

static tensor *embeddings(nn *c, const text_config *config, tensor *ids)
{
    nn_mark mark = nn_enter(c, "embeddings");
    tensor *positions = nn_weight(c, "position_embedding.weight", SHAPE(config->max_positions, config->hidden_size));
    tensor *x = nn_token_table(c, "token_embedding", ids, config->vocab_size, config->hidden_size, positions);
    nn_leave(c, mark);
    return x;
}

static tensor *final_norm(nn *c, const text_config *config, tensor *x)
{
    return nn_layer_norm(c, "final_layer_norm", x, config->norm_eps);
}

text_encoder text_encoder_build(nn *c, const text_config *config, int64_t batch, int64_t tokens, text_options options)
{
    graph *g = c->g;
    text_encoder t = {0};
    int64_t last = config->layers - options.skip_layers; /* the layer whose state is the result */
    if (tokens < 1 || tokens > config->max_positions)
        graph_fail(g, LECO_INVALID, "%lld tokens: the text encoder takes 1 to %lld", (long long)tokens,
                   (long long)config->max_positions);
    if (last < 1 || options.skip_layers < 0)
        graph_fail(g, LECO_INVALID, "can't skip %lld of the text encoder's %lld layers", (long long)options.skip_layers,
                   (long long)config->layers);
    t.ids = graph_input(g, "input_ids", DTYPE_I32, SHAPE(batch, tokens));

    nn_mark mark = nn_enter(c, "text_model");
    tensor *x = embeddings(c, config, t.ids);
    for (int64_t i = 0; i < last; i++) x = layer(c, config, i, x);
    t.hidden_states = options.no_final_norm ? x : final_norm(c, config, x);
    if (options.pooled) {
        for (int64_t i = last; i < config->layers; i++) x = layer(c, config, i, x);
        bool same = last == config->layers && !options.no_final_norm;
        t.eos = graph_input(g, "eos_positions", DTYPE_I32, SHAPE(batch));
        t.pooled = op_select_rows(g, same ? t.hidden_states : final_norm(c, config, x), t.eos);
    }
    nn_leave(c, mark);

    if (t.pooled && config->projection_dim)
        t.pooled = nn_linear(c, "text_projection", t.pooled, config->projection_dim, false, NULL);
    graph_result(g, t.hidden_states);
    if (t.pooled) graph_result(g, t.pooled);
    return t;
}

void text_eos_positions(const text_config *config, const int32_t *ids, int64_t batch, int64_t tokens,
                        int32_t *positions)
{
    for (int64_t n = 0; n < batch; n++) {
        const int32_t *row = ids + n * tokens;
        int64_t best = 0;
        if (config->eos_token_id == LEGACY_EOS) {
            for (int64_t i = 1; i < tokens; i++)
                if (row[i] > row[best] && row[i] < config->vocab_size) best = i;
        } else {
            while (best < tokens && row[best] != config->eos_token_id) best++;
            if (best == tokens) best = 0; /* as the argmax of no matches at all */
        }
        positions[n] = (int32_t)best;
    }
}
