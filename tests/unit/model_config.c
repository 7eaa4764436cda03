/* Configs: what leco can't do is refused by file, key and value; what is missing gets diffusers' defaults. */
#include "model_support.h"

#include <stdio.h>
#include <string.h>

#include "model/model.h"

typedef struct edit {
    const char *key, *value;
    leco_status status;
    const char *says; /* besides the key */
} edit;

typedef leco_status reader(const char *folder, void *out, leco_error *err);

/* Reads the config once for every edit of one key, and expects it to fail as told. */
static void refuse(const char *fixture, const char *file, reader *read, void *out, const edit *edits, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        leco_error err = {0};
        const char *folder = model_copy(fixture, "config");
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, file);
        model_edit(path, edits[i].key, edits[i].value);
        assert_fails(read(folder, out, &err), edits[i].status, &err, path, edits[i].key, edits[i].says);
    }
}

static leco_status read_unet(const char *folder, void *out, leco_error *err)
{
    return unet_config_read(folder, out, err);
}

static void unet_refusals(void **state)
{
    (void)state;
    static const edit edits[] = {
        {"class_embed_type", "\"timestep\"", LECO_UNSUPPORTED, "timestep"},
        {"num_class_embeds", "10", LECO_UNSUPPORTED, "10"},
        {"dual_cross_attention", "true", LECO_UNSUPPORTED, "true"},
        {"act_fn", "\"mish\"", LECO_UNSUPPORTED, "mish"},
        {"only_cross_attention", "true", LECO_UNSUPPORTED, "true"},
        {"only_cross_attention", "[false, true, false]", LECO_UNSUPPORTED, "true"},
        {"center_input_sample", "true", LECO_UNSUPPORTED, "true"},
        {"resnet_time_scale_shift", "\"scale_shift\"", LECO_UNSUPPORTED, "scale_shift"},
        {"down_block_types", "[\"DownBlock2D\", \"AttnDownBlock2D\", \"DownBlock2D\"]", LECO_UNSUPPORTED, "AttnDown"},
        {"down_block_types", "[\"DownBlock2D\"]", LECO_INVALID, "list of 3"},
        {"up_block_types", "[\"UpBlock2D\", 3, \"UpBlock2D\"]", LECO_UNSUPPORTED, "3"},
        {"mid_block_type", "\"UNetMidBlock2D\"", LECO_UNSUPPORTED, "UNetMidBlock2D"},
        {"mid_block_type", "null", LECO_UNSUPPORTED, "null is not supported"},
        {"addition_embed_type", "\"image\"", LECO_UNSUPPORTED, "image"},
        {"time_cond_proj_dim", "256", LECO_UNSUPPORTED, "256"},
        {"encoder_hid_dim", "32", LECO_UNSUPPORTED, "32"},
        {"conv_in_kernel", "5", LECO_UNSUPPORTED, "5"},
        {"some_new_switch", "true", LECO_UNSUPPORTED, "true"},
        {"Act_fn", "\"mish\"", LECO_UNSUPPORTED, "did you mean \"act_fn\"?"},
        {"num_attention_heads", "4", LECO_UNSUPPORTED, "attention_head_dim is the number of heads"},
        {"attention_head_dim", "null", LECO_UNSUPPORTED, "expected a whole number, or a list of them, found null"},
        {"norm_num_groups", "null", LECO_UNSUPPORTED, "expected a whole number, found null"},
        {"_class_name", "\"UNet3DConditionModel\"", LECO_UNSUPPORTED, "UNet3DConditionModel"},
        {"block_out_channels", "[8, -16, 24]", LECO_INVALID, "element 1"},
        {"block_out_channels", "[8, 16, \"24\"]", LECO_INVALID, "element 2"},
        {"block_out_channels", "[]", LECO_INVALID, "list of 1 to 8"},
        {"block_out_channels", "\"wide\"", LECO_INVALID, "list"},
        {"layers_per_block", "[1, 1]", LECO_INVALID, "expected 3"},
        {"layers_per_block", "1000", LECO_INVALID, "1000"},
        {"attention_head_dim", "3", LECO_INVALID, "3 heads"},
        {"norm_num_groups", "3", LECO_INVALID, "3 groups"},
        {"norm_num_groups", "0", LECO_INVALID, "0"},
        {"norm_eps", "-1e-5", LECO_INVALID, "-1e-05"},
        {"norm_eps", "\"1e-5\"", LECO_INVALID, "number"},
        {"cross_attention_dim", "[24, 24, 32]", LECO_UNSUPPORTED, "differs"},
        {"flip_sin_to_cos", "1", LECO_INVALID, "true or false"},
        {"addition_embed_type", "\"text_time\"", LECO_INVALID, "projection_class_embeddings_input_dim"},
    };
    unet_config config;
    refuse(FIXTURE("sd1-like/unet"), "config.json", read_unet, &config, edits, sizeof edits / sizeof *edits);
}

static void unet_acceptance(void **state)
{
    (void)state;
    static const char *const edits[][2] = {
        {"dropout", "0.1"},          {"upcast_attention", "true"}, {"some_new_switch", "false"},
        {"another", "null"},         {"_name_or_path", "\"x\""},   {"act_fn", "\"swish\""},
        {"sample_size", "[64, 96]"}, {"decay", "0.9999"},          {"only_cross_attention", "[false, false, false]"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        leco_error err = {0};
        unet_config config;
        const char *folder = model_copy(FIXTURE("sd1-like/unet"), "unet");
        char path[1024];
        snprintf(path, sizeof path, "%s/config.json", folder);
        model_edit(path, edits[i][0], edits[i][1]);
        assert_works(unet_config_read(folder, &config, &err), &err);
    }
}

static void unet_lists_and_heads(void **state)
{
    (void)state;
    leco_error err = {0};
    unet_config c;
    const char *folder = model_copy(FIXTURE("sdxl-like/unet"), "lists");
    char path[1024];
    snprintf(path, sizeof path, "%s/config.json", folder);
    model_edit(path, "transformer_layers_per_block", "[1, 2, 10]");
    model_edit(path, "attention_head_dim", "[1, 2, 4]");
    assert_works(unet_config_read(folder, &c, &err), &err);
    assert_int_equal(c.level_count, 3);
    assert_false(c.level[0].down_attention);
    assert_false(c.level[0].up_attention);
    assert_true(c.level[1].up_attention);
    assert_int_equal(c.level[2].transformer_layers, 10);
    assert_int_equal(c.level[2].heads, 4);
    assert_int_equal(unet_pooled_width(&c), c.addition_embed_input_dim - 6 * c.addition_time_embed_dim);

    folder = model_copy(FIXTURE("sd1-like/unet"), "heads");
    snprintf(path, sizeof path, "%s/config.json", folder);
    model_edit(path, "num_attention_heads", "null");
    model_edit(path, "layers_per_block", "[1, 2, 3]");
    assert_works(unet_config_read(folder, &c, &err), &err);
    assert_int_equal(c.level[2].layers, 3);
    model_edit(path, "num_attention_heads", NULL);
    model_edit(path, "attention_head_dim", NULL);
    model_edit(path, "norm_eps", NULL);
    assert_works(unet_config_read(folder, &c, &err), &err);
    assert_int_equal(c.level[1].heads, 8); /* diffusers' default */
    assert_true(c.norm_eps == 1e-5f);
}

static leco_status read_text(const char *folder, void *out, leco_error *err)
{
    return text_config_read(folder, out, err);
}

static void text_refusals(void **state)
{
    (void)state;
    static const edit edits[] = {
        {"hidden_act", "\"gelu_new\"", LECO_UNSUPPORTED, "gelu_new"},
        {"model_type", "\"t5\"", LECO_UNSUPPORTED, "t5"},
        {"architectures", "[\"T5EncoderModel\"]", LECO_UNSUPPORTED, "T5EncoderModel"},
        {"num_attention_heads", "5", LECO_INVALID, "5 heads"},
        {"hidden_size", "0", LECO_INVALID, "0"},
        {"vocab_size", "99999999999", LECO_INVALID, "99999999999"},
        {"layer_norm_eps", "0", LECO_INVALID, "0"},
        {"hidden_act", "null", LECO_UNSUPPORTED, "expected quick_gelu or gelu, found null"},
        {"intermediate_size", "null", LECO_UNSUPPORTED, "expected a whole number, found null"},
        {"hidden_Act", "\"relu\"", LECO_UNSUPPORTED, "did you mean \"hidden_act\"?"},
    };
    text_config config;
    refuse(FIXTURE("sd1-like/text_encoder"), "config.json", read_text, &config, edits, sizeof edits / sizeof *edits);
}

static leco_status read_vae(const char *folder, void *out, leco_error *err)
{
    return vae_config_read(folder, out, err);
}

static void vae_refusals(void **state)
{
    (void)state;
    static const edit edits[] = {
        {"shift_factor", "0.1", LECO_UNSUPPORTED, "0.1"},
        {"latents_mean", "[0.1]", LECO_UNSUPPORTED, "0.1"},
        {"act_fn", "\"relu\"", LECO_UNSUPPORTED, "relu"},
        {"down_block_types", "[\"DownEncoderBlock2D\", \"AttnDownEncoderBlock2D\"]", LECO_UNSUPPORTED, "Attn"},
        {"scaling_factor", "0", LECO_INVALID, "0"},
        {"scaling_factor", "null", LECO_UNSUPPORTED, "expected a number, found null"},
        {"norm_num_groups", "3", LECO_INVALID, "3 groups"},
        {"_class_name", "\"AutoencoderTiny\"", LECO_UNSUPPORTED, "AutoencoderTiny"},
    };
    vae_config config;
    refuse(FIXTURE("vae-mid/vae"), "config.json", read_vae, &config, edits, sizeof edits / sizeof *edits);
}

static leco_status read_schedule(const char *folder, void *out, leco_error *err)
{
    return schedule_config_read(folder, out, err);
}

static void schedule_refusals(void **state)
{
    (void)state;
    static const edit edits[] = {
        {"rescale_betas_zero_snr", "7", LECO_INVALID, "expected true or false, found 7"},
        {"trained_betas", "[0.1]", LECO_UNSUPPORTED, "0.1"},
        {"betas", "[0.1]", LECO_UNSUPPORTED, "0.1"},
        {"Beta_end", "0.5", LECO_UNSUPPORTED, "did you mean \"beta_end\"?"},
        {"predicton_type", "\"v_prediction\"", LECO_UNSUPPORTED, "did you mean \"prediction_type\"?"},
        {"set_alpha_to_one", "null", LECO_UNSUPPORTED, "expected true or false, found null"},
        {"beta_schedule", "\"squaredcos_cap_v2\"", LECO_UNSUPPORTED, "squaredcos_cap_v2"},
        {"prediction_type", "\"sample\"", LECO_UNSUPPORTED, "sample"},
        {"_class_name", "\"FlowMatchEulerDiscreteScheduler\"", LECO_UNSUPPORTED, "FlowMatch"},
        {"beta_end", "0.0001", LECO_INVALID, "beta_start"},
        {"num_train_timesteps", "0", LECO_INVALID, "0"},
        {"steps_offset", "1000", LECO_INVALID, "1000"},
    };
    schedule_config config;
    refuse(FIXTURE("sd2-like/scheduler"), "scheduler_config.json", read_schedule, &config, edits,
           sizeof edits / sizeof *edits);
}

static void zero_terminal_snr_is_for_v(void **state)
{
    (void)state;
    static const edit edits[] = {{"rescale_betas_zero_snr", "true", LECO_INVALID, "v_prediction"}};
    schedule_config config;
    refuse(FIXTURE("odd/scheduler"), "scheduler_config.json", read_schedule, &config, edits, 1);
}

static void schedules(void **state)
{
    (void)state;
    leco_error err = {0};
    schedule_config c;
    assert_works(schedule_config_read(FIXTURE("sd1-like/scheduler"), &c, &err), &err);
    assert_int_equal(c.train_timesteps, 1000);
    assert_int_equal(c.beta, BETA_SCALED_LINEAR);
    assert_int_equal(c.prediction, PREDICT_EPSILON);
    assert_int_equal(c.steps_offset, 1);
    assert_false(c.set_alpha_to_one);
    assert_false(c.clip_sample); /* PNDM doesn't */
    assert_works(schedule_config_read(FIXTURE("sd2-like/scheduler"), &c, &err), &err);
    assert_int_equal(c.prediction, PREDICT_V);
    assert_works(schedule_config_read(FIXTURE("odd/scheduler"), &c, &err), &err);
    assert_true(c.set_alpha_to_one);
    assert_works(schedule_config_read(FIXTURE("sdxl-like/scheduler"), &c, &err), &err);
}

static void presets(void **state)
{
    (void)state;
    leco_error err = {0};
    model *m;
    assert_works(model_preset("sdxl", &m, &err), &err);
    assert_int_equal(unet_pooled_width(&m->unet), 1280);
    assert_works(model_load(m, MODEL_ALL, &err), &err);
    model_close(m);
    assert_fails(model_preset("sd3", &m, &err), LECO_INVALID, &err, "sd3", "sd15");
    assert_null(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unet_refusals),
        cmocka_unit_test(unet_acceptance),
        cmocka_unit_test(unet_lists_and_heads),
        cmocka_unit_test(text_refusals),
        cmocka_unit_test(vae_refusals),
        cmocka_unit_test(schedule_refusals),
        cmocka_unit_test(schedules),
        cmocka_unit_test(presets),
        cmocka_unit_test(zero_terminal_snr_is_for_v),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
