/* Configs as diffusers 0.35 and transformers write them. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/family.h"
#include "model/model_write.h"

#define DIFFUSERS "0.35.2" /* _diffusers_version: what reads the files may go by it */

static json_t *names(int64_t count, const char *with, const char *without, const bool *attention, bool backwards)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(attention[backwards ? count - 1 - i : i] ? with : without));
    return list;
}

static json_t *same_names(int64_t count, const char *name)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) json_array_append_new(list, json_string(name));
    return list;
}

static void set(json_t *o, const char *key, json_t *value)
{
    json_object_set_new(o, key, value);
}

/* As few digits as say the float. */
static json_t *number(float value)
{
    char text[32];
    snprintf(text, sizeof text, "%.9g", (double)value);
    for (int digits = 1; digits < 9; digits++) {
        char shorter[32];
        snprintf(shorter, sizeof shorter, "%.*g", digits, (double)value);
        if (strtof(shorter, NULL) != value) continue;
        snprintf(text, sizeof text, "%s", shorter);
        break;
    }
    return json_real(strtod(text, NULL));
}

/* A list of a number for each level, or the number where it is the same for all. */
static json_t *each_level(const unet_config *u, size_t offset)
{
    json_t *list = json_array();
    bool same = true;
    for (int64_t i = 0; i < u->level_count; i++) {
        const int64_t value = *(const int64_t *)(const void *)((const char *)&u->level[i] + offset);
        same = same && value == *(const int64_t *)(const void *)((const char *)&u->level[0] + offset);
        json_array_append_new(list, json_integer(value));
    }
    json_t *out = same ? json_incref(json_array_get(list, 0)) : json_incref(list);
    json_decref(list);
    return out;
}

static json_t *unet_json(const unet_config *u)
{
    const int64_t n = u->level_count;
    json_t *o = json_object(), *channels = json_array();
    bool down[UNET_MAX_LEVELS], up[UNET_MAX_LEVELS];
    for (int64_t i = 0; i < n; i++) {
        const unet_level *l = &u->level[i];
        json_array_append_new(channels, json_integer(l->channels));
        down[i] = l->down_attention;
        up[i] = l->up_attention;
    }
    set(o, "_class_name", json_string("UNet2DConditionModel"));
    set(o, "_diffusers_version", json_string(DIFFUSERS));
    set(o, "act_fn", json_string("silu"));
    set(o, "attention_head_dim",
        each_level(u, offsetof(unet_level, heads))); /* the number of heads, whatever its name says */
    set(o, "block_out_channels", channels);
    set(o, "center_input_sample", json_false());
    set(o, "cross_attention_dim", json_integer(unet_context_width(u)));
    set(o, "down_block_types", names(n, "CrossAttnDownBlock2D", "DownBlock2D", down, false));
    set(o, "downsample_padding", json_integer(1));
    set(o, "flip_sin_to_cos", json_boolean(u->flip_sin_to_cos));
    set(o, "freq_shift", number(u->freq_shift));
    set(o, "in_channels", json_integer(u->in_channels));
    set(o, "layers_per_block", each_level(u, offsetof(unet_level, layers)));
    set(o, "mid_block_scale_factor", json_integer(1));
    set(o, "mid_block_type", json_string("UNetMidBlock2DCrossAttn"));
    set(o, "norm_eps", number(u->norm_eps));
    set(o, "norm_num_groups", json_integer(u->norm_groups));
    set(o, "out_channels", json_integer(u->out_channels));
    set(o, "sample_size",
        u->sample_height == u->sample_width ? json_integer(u->sample_height)
                                            : json_pack("[I, I]", u->sample_height, u->sample_width));
    set(o, "transformer_layers_per_block", each_level(u, offsetof(unet_level, transformer_layers)));
    set(o, "up_block_types", names(n, "CrossAttnUpBlock2D", "UpBlock2D", up, true));
    set(o, "use_linear_projection", json_boolean(u->use_linear_projection));
    if (u->addition_time_embed_dim == 0) return o;
    set(o, "addition_embed_type", json_string("text_time"));
    set(o, "addition_time_embed_dim", json_integer(u->addition_time_embed_dim));
    set(o, "projection_class_embeddings_input_dim", json_integer(u->addition_embed_input_dim));
    return o;
}

static json_t *text_json(const text_config *t)
{
    json_t *o = json_object();
    set(o, "architectures", json_pack("[s]", t->projection_dim ? "CLIPTextModelWithProjection" : "CLIPTextModel"));
    set(o, "attention_dropout", json_real(0));
    set(o, "bos_token_id", json_integer(0));
    set(o, "dropout", json_real(0));
    set(o, "eos_token_id", json_integer(t->eos_token_id));
    set(o, "hidden_act", json_string(t->act == ACT_QUICK_GELU ? "quick_gelu" : "gelu"));
    set(o, "hidden_size", json_integer(t->hidden_size));
    set(o, "initializer_factor", json_real(1));
    set(o, "initializer_range", json_real(0.02));
    set(o, "intermediate_size", json_integer(t->intermediate_size));
    set(o, "layer_norm_eps", number(t->norm_eps));
    set(o, "max_position_embeddings", json_integer(t->max_positions));
    set(o, "model_type", json_string("clip_text_model"));
    set(o, "num_attention_heads", json_integer(t->heads));
    set(o, "num_hidden_layers", json_integer(t->layers));
    set(o, "pad_token_id", json_integer(1));
    set(o, "projection_dim", json_integer(t->projection_dim ? t->projection_dim : t->hidden_size));
    set(o, "vocab_size", json_integer(t->vocab_size));
    return o;
}

static json_t *vae_json(const vae_config *v)
{
    json_t *o = json_object(), *channels = json_array();
    for (int64_t i = 0; i < v->level_count; i++) json_array_append_new(channels, json_integer(v->channels[i]));
    set(o, "_class_name", json_string("AutoencoderKL"));
    set(o, "_diffusers_version", json_string(DIFFUSERS));
    set(o, "act_fn", json_string("silu"));
    set(o, "block_out_channels", channels);
    set(o, "down_block_types", same_names(v->level_count, "DownEncoderBlock2D"));
    set(o, "force_upcast", json_true()); /* in float16 SDXL's overflows */
    set(o, "in_channels", json_integer(v->in_channels));
    set(o, "latent_channels", json_integer(v->latent_channels));
    set(o, "layers_per_block", json_integer(v->layers));
    set(o, "mid_block_add_attention", json_boolean(v->mid_attention));
    set(o, "norm_num_groups", json_integer(v->norm_groups));
    set(o, "out_channels", json_integer(v->out_channels));
    set(o, "scaling_factor", number(v->scaling_factor));
    set(o, "up_block_types", same_names(v->level_count, "UpDecoderBlock2D"));
    set(o, "use_post_quant_conv", json_boolean(v->post_quant_conv));
    set(o, "use_quant_conv", json_boolean(v->quant_conv));
    return o;
}

json_t *model_config_json(const model *m, model_part part)
{
    switch (part) {
    case PART_UNET:
        return unet_json(&m->unet);
    case PART_TEXT_ENCODER:
        return text_json(&m->text);
    case PART_TEXT_ENCODER_2:
        return text_json(&m->text_2);
    default:
        return vae_json(&m->vae);
    }
}

/* Of zero terminal SNR PNDM knows nothing. */
const char *model_scheduler_class(const model *m)
{
    if (model_has(m, PART_TEXT_ENCODER_2)) return "EulerDiscreteScheduler";
    return m->family->v2 || m->schedule.zero_terminal_snr ? "DDIMScheduler" : "PNDMScheduler";
}

json_t *model_schedule_json(const model *m)
{
    static const char *const spacings[] = {
        [SPACING_LEADING] = "leading", [SPACING_LINSPACE] = "linspace", [SPACING_TRAILING] = "trailing"};
    const schedule_config *s = &m->schedule;
    const char *class = model_scheduler_class(m);
    json_t *o = json_pack("{s:s, s:s, s:f, s:f, s:s, s:b, s:I, s:s, s:b, s:b, s:I, s:n, s:s*}", "_class_name", class,
                          "_diffusers_version", DIFFUSERS, "beta_start", s->beta_start, "beta_end", s->beta_end,
                          "beta_schedule", s->beta == BETA_LINEAR ? "linear" : "scaled_linear", "clip_sample",
                          (int)s->clip_sample, "num_train_timesteps", (json_int_t)s->train_timesteps, "prediction_type",
                          s->prediction == PREDICT_V ? "v_prediction" : "epsilon", "set_alpha_to_one",
                          (int)s->set_alpha_to_one, "skip_prk_steps", 1, "steps_offset", (json_int_t)s->steps_offset,
                          "trained_betas", "timestep_spacing", spacings[s->spacing]);
    if (s->zero_terminal_snr) set(o, "rescale_betas_zero_snr", json_true());
    if (strcmp(class, "EulerDiscreteScheduler") != 0) return o;
    set(o, "interpolation_type", json_string("linear"));
    set(o, "sample_max_value", json_real(1));
    set(o, "use_karras_sigmas", json_false());
    return o;
}

json_t *model_index_json(const model *m, const char *scheduler)
{
    const bool two = model_has(m, PART_TEXT_ENCODER_2);
    json_t *o = json_object();
    set(o, "_class_name", json_string(two ? "StableDiffusionXLPipeline" : "StableDiffusionPipeline"));
    set(o, "_diffusers_version", json_string(DIFFUSERS));
    set(o, "feature_extractor", json_pack("[n, n]"));
    set(o, "image_encoder", json_pack("[n, n]"));
    set(o, "scheduler", json_pack("[s, s]", "diffusers", scheduler));
    set(o, "text_encoder",
        json_pack("[s, s]", "transformers", m->text.projection_dim ? "CLIPTextModelWithProjection" : "CLIPTextModel"));
    set(o, "tokenizer", json_pack("[s, s]", "transformers", "CLIPTokenizer"));
    set(o, "unet", json_pack("[s, s]", "diffusers", "UNet2DConditionModel"));
    set(o, "vae", json_pack("[s, s]", "diffusers", "AutoencoderKL"));
    if (two) {
        set(o, "text_encoder_2",
            json_pack("[s, s]", "transformers",
                      m->text_2.projection_dim ? "CLIPTextModelWithProjection" : "CLIPTextModel"));
        set(o, "tokenizer_2", json_pack("[s, s]", "transformers", "CLIPTokenizer"));
        set(o, "force_zeros_for_empty_prompt", json_boolean(m->zeros_for_none));
    } else {
        set(o, "safety_checker", json_pack("[n, n]"));
        set(o, "requires_safety_checker", json_false());
    }
    return o;
}
