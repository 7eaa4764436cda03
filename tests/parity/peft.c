/* LoRAs as PEFT and diffusers save them, now and formerly (tools/fixtures_peft.py): what diffusers makes of them. */
#include "parity_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/name_table.h"
#include "leco/leco.h"
#include "model/adapter_keys.h"
#include "model/adapter_open.h"
#include "model/checkpoint.h"
#include "model/model.h"

static leco_error err;

#define PEFT FIXTURES "peft/"

static safetensors_entry called(const safetensors *file, const char *name, const char *as)
{
    const safetensors_entry *e = safetensors_find(file, name);
    assert_non_null(e);
    safetensors_entry copy = *e;
    copy.name = as;
    return copy;
}

static void same(leco_model *m, const char *module, const safetensors_entry *in, size_t count, const char *name,
                 const safetensors *wanted, const char *key)
{
    safetensors *out;
    assert_works(safetensors_write(test_path("in.safetensors"), in, count, NULL, 0, &err), &err);
    assert_works(leco_run(m, module, test_path("in.safetensors"), NULL, test_path("out.safetensors"), &err), &err);
    assert_works(safetensors_open(test_path("out.safetensors"), &out, &err), &err);
    values got = fixture_read(out, "%s", name), want = fixture_read(wanted, "%s", key);
    const double error = worst_error(got.at, &want);
    printf("    %s within %.1e\n", key, error);
    assert_true(error < 1e-4);
    values_free(&got);
    values_free(&want);
    safetensors_close(out);
}

static void files_do_as_in_diffusers(void **state)
{
    (void)state;
    static const struct {
        const char *file, *as;
    } cases[] = {
        {"diffusers", "diffusers"}, {"plain", "plain"}, {"old", "old"}, {"peft", "old"}, {"patterns", "patterns"}};
    const leco_model_options options = {.device = "cpu", .precision = "float32"};
    const float timestep = 301;
    safetensors *wanted;
    assert_works(safetensors_open(PEFT "out.safetensors", &wanted, &err), &err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[512], key[64];
        leco_model *m;
        snprintf(path, sizeof path, PEFT "%s.safetensors", cases[i].file);
        printf("  %s\n", cases[i].file);
        assert_works(leco_model_open(FIXTURES "sd1-like", &options, &m, &err), &err);
        assert_works(leco_model_add_lora(m, path, 1, &err), &err);
        const safetensors_entry ids = called(wanted, "input_ids", "input_ids");
        snprintf(key, sizeof key, "hidden.%s", cases[i].as);
        same(m, "text-encoder", &ids, 1, "last_hidden_state", wanted, key);
        const safetensors_entry in[] = {
            called(wanted, "sample", "sample"),
            called(wanted, "context", "encoder_hidden_states"),
            {.name = "timestep", .type = DTYPE_F32, .rank = 1, .shape = {1}, .count = 1, .data = &timestep}};
        snprintf(key, sizeof key, "noise_pred.%s", cases[i].as);
        same(m, "unet", in, 3, "noise_pred", wanted, key);
        leco_model_close(m);
    }
    safetensors_close(wanted);
}

static void names_become_kohyas(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight",
         "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight"},
        {"lora_unet_input_blocks_8_1_proj_in.alpha", "lora_unet_down_blocks_2_attentions_1_proj_in.alpha"},
        {"lora_unet_input_blocks_3_0_op.lora_up.weight", "lora_unet_down_blocks_0_downsamplers_0_conv.lora_up.weight"},
        {"lora_unet_input_blocks_7_0_skip_connection.alpha", "lora_unet_down_blocks_2_resnets_0_conv_shortcut.alpha"},
        {"lora_unet_middle_block_1_proj_out.alpha", "lora_unet_mid_block_attentions_0_proj_out.alpha"},
        {"lora_unet_middle_block_2_emb_layers_1.alpha", "lora_unet_mid_block_resnets_1_time_emb_proj.alpha"},
        {"lora_unet_output_blocks_5_1_transformer_blocks_1_ff_net_2.dora_scale",
         "lora_unet_up_blocks_1_attentions_2_transformer_blocks_1_ff_net_2.dora_scale"},
        {"lora_unet_output_blocks_2_2_conv.alpha", "lora_unet_up_blocks_0_upsamplers_0_conv.alpha"},
        {"lora_unet_output_blocks_8_0_out_layers_3.alpha", "lora_unet_up_blocks_2_resnets_2_conv2.alpha"},
        {"lora_unet_label_emb_0_2.alpha", "lora_unet_add_embedding_linear_2.alpha"},
        {"lora_unet_input_blocks_0_0.alpha", "lora_unet_conv_in.alpha"},
        {"lora_unet_out_2.alpha", "lora_unet_conv_out.alpha"},
        {"lora_unet_input_blocks_4_0_strange.alpha", NULL},
        {"lora_unet_down_blocks_1_attentions_0_proj_in.alpha", NULL},
        {"unet.mid_block.attentions.0.proj_in.lora_A.weight",
         "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"},
        {"base_model.model.up_blocks.1.attn1.to_q.lora_B.default.weight",
         "lora_unet_up_blocks_1_attn1_to_q.lora_up.weight"},
        {"base_model.model.text_model.encoder.layers.0.mlp.fc1.lora_A.weight",
         "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"},
        {"unet.a.attn1.processor.to_out_lora.up.weight", "lora_unet_a_attn1_to_out_0.lora_up.weight"},
        {"down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_k_lora.down.weight",
         "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight"},
        {"unet.mid_block.attentions.0.proj_in.lora.down.weight",
         "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"},
        {"text_encoder.text_model.encoder.layers.1.self_attn.q_proj.lora_linear_layer.up.weight",
         "lora_te_text_model_encoder_layers_1_self_attn_q_proj.lora_up.weight"},
        {"text_encoder.text_model.encoder.layers.0.self_attn.to_out_lora.up.weight",
         "lora_te_text_model_encoder_layers_0_self_attn_out_proj.lora_up.weight"},
        {"unet.a.b.lora_magnitude_vector", "lora_unet_a_b.dora_scale"},
        {"unet.a.b.alpha", "lora_unet_a_b.alpha"},
        {"text_encoder_2.text_model.x.lora_A.weight", "lora_te2_text_model_x.lora_down.weight"},
        {"diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.lora_up.weight",
         "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight"},
        {"diffusion_model.input_blocks.4.1.transformer_blocks.0.ff.net.0.proj.lora_A.weight",
         "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_ff_net_0_proj.lora_down.weight"},
        {"diffusion_model.output_blocks.2.2.conv.diff", "lora_unet_up_blocks_0_upsamplers_0_conv.diff"},
        {"diffusion_model.time_embed.0.diff_b", "lora_unet_time_embedding_linear_1.diff_b"},
        {"diffusion_model.input_blocks.1.0.in_layers.0.diff", "lora_unet_down_blocks_0_resnets_0_norm1.diff"},
        {"diffusion_model.out.2.alpha", "lora_unet_conv_out.alpha"},
        {"diffusion_model.middle_block.1.proj_in.lokr_w1", "lora_unet_mid_block_attentions_0_proj_in.lokr_w1"},
        {"text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.lora_down.weight",
         "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"},
        {"text_encoders.clip_h.transformer.text_model.encoder.layers.0.mlp.fc1.alpha",
         "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha"},
        {"text_encoders.clip_g.transformer.text_model.encoder.layers.30.self_attn.q_proj.diff_b",
         "lora_te2_text_model_encoder_layers_30_self_attn_q_proj.diff_b"},
        {"text_encoders.clip_g.transformer.text_projection.lora_up.weight", "lora_te2_text_projection.lora_up.weight"},
        {"lycoris_mid_block_attentions_0_proj_in.hada_w1_a", "lora_unet_mid_block_attentions_0_proj_in.hada_w1_a"},
        {"lycoris_unet_mid_block_attentions_0_proj_in.alpha", "lora_unet_mid_block_attentions_0_proj_in.alpha"},
        {"lycoris_conv_in.lora_up.weight", "lora_unet_conv_in.lora_up.weight"},
        {"lycoris_time_embedding_linear_1.alpha", "lora_unet_time_embedding_linear_1.alpha"},
        {"lycoris_add_embedding_linear_2.alpha", "lora_unet_add_embedding_linear_2.alpha"},
        {"lycoris_middle_block_1_proj_out.alpha", "lora_unet_mid_block_attentions_0_proj_out.alpha"},
        {"lycoris_text_model_encoder_layers_0_mlp_fc1.lokr_w2", "lora_te_text_model_encoder_layers_0_mlp_fc1.lokr_w2"},
        {"lycoris_transformer_blocks_0_attn_to_q.lora_up.weight", NULL}, /* another family's */
        {"unet.base_model.model.mid_block.attentions.0.proj_in.lora_A.weight",
         "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"},
        {"base_model.model.add_embedding.linear_1.lora_B.weight", "lora_unet_add_embedding_linear_1.lora_up.weight"},
        {"unet.a.b.lora_A.my-style.weight", "lora_unet_a_b.lora_down.weight"},
        {"unet.a.b.lora_B.default_0.weight", "lora_unet_a_b.lora_up.weight"},
        {"unet.a.b.lora_magnitude_vector.my-style.weight", "lora_unet_a_b.dora_scale"},
        {"unet.a.b.lora_A..weight", NULL},
        {"unet.a.b.lora_A.x.y.weight", NULL},
        {"unet.a.b.lora_A.x.bias", NULL},
        {"module.lora_unet_a_b.lora_up.weight", "lora_unet_a_b.lora_up.weight"},
        {"module.lora_unet_out_2.alpha", "lora_unet_conv_out.alpha"},
        {"module.unet.a.b.lora_A.weight", "lora_unet_a_b.lora_down.weight"},
        {"module.a.b.weight", NULL},
        {"module.", NULL},
        {"lycoris_", NULL},
        {"diffusion_model.input_blocks.0.0.weight", NULL},
        {"diffusion_model.output_blocks.5.0.in_layers.2.diff", "lora_unet_up_blocks_1_resnets_2_conv1.diff"},
        {"diffusion_model.input_blocks.4.0.in_layers.0.diff_b", "lora_unet_down_blocks_1_resnets_0_norm1.diff_b"},
        {"diffusion_model.time_embed.0.diff", "lora_unet_time_embedding_linear_1.diff"},
        {"diffusion_model.mid_block.attentions.0.proj_in.lora_A.weight",
         "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"},
        {"text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.diff",
         "lora_te_text_model_encoder_layers_0_mlp_fc1.diff"},
        {"text_encoders.clip_g.transformer.text_model.encoder.layers.0.mlp.fc1.lora_down.weight",
         "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"},
        {"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight", NULL},
        {"unet.a.b.weight", NULL},
        {"unet.lora_A.weight", NULL},
        {"other.a.lora_A.weight", NULL},
        {"x", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *name;
        assert_works(adapter_kohya_name(cases[i][0], &name, &err), &err);
        if (!cases[i][1])
            assert_null(name);
        else if (!name || strcmp(name, cases[i][1]) != 0)
            fail_msg("%s becomes %s", cases[i][0], name ? name : "nothing");
        mem_free(name);
    }
}

/* ComfyUI's generic name of the layer is read as the layer's. */
static void assert_comfy_says_so(const layer_info *layer, const char *wanted)
{
    static const checkpoint_depths sdxl = {.unet_layers = 2, .up_attention = {true, true}};
    char path[192], name[256], *got;
    assert_true(checkpoint_unet_path(&sdxl, layer->path, path));
    snprintf(name, sizeof name, "diffusion_model.%s.alpha", path);
    assert_works(adapter_kohya_name(name, &got, &err), &err);
    if (!got || strcmp(got, wanted) != 0) fail_msg("%s becomes %s", name, got ? got : "nothing");
    mem_free(got);
}

/* Every layer of SDXL's U-Net has a name of its own among an original checkpoint's, and it is the same one on the way
 * back. (That reading has them right is above, and what diffusers makes of written files, in tools/.) */
static void sdxl_is_called_as_sd_scripts_calls_it(void **state)
{
    (void)state;
    model *m;
    adapter_layers layers;
    name_table names = {0};
    assert_works(model_preset("sdxl", &m, &err), &err);
    assert_works(model_adapter_layers(m, &layers, &err), &err);
    const layer_list *list = layers.part[PART_UNET];
    assert_true(list->count > 700);
    char **kept = mem_calloc(list->count, sizeof *kept);
    for (size_t i = 0; i < list->count; i++) {
        char *key = adapter_key(&list->layer[i]), *name = mem_printf("%s.alpha", key), *original, *back;
        assert_works(adapter_original_name(name, &original, &err), &err);
        if (!original) fail_msg("%s has no original name", name);
        assert_null(strstr(original, "down_blocks"));
        assert_works(adapter_name_of_original(original, &back, &err), &err);
        assert_true(back && strcmp(back, name) == 0);
        assert_null(name_table_find(&names, original));
        assert_true(name_table_add(&names, original, i));
        kept[i] = original;
        assert_comfy_says_so(&list->layer[i], name);
        mem_free(key);
        mem_free(name);
        mem_free(back);
    }
    name_table_free(&names);
    for (size_t i = 0; i < list->count; i++) mem_free(kept[i]);
    mem_free(kept);
    model_close(m);
    static const char *const none[] = {"lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha",
                                       "lora_unet_other.alpha",
                                       "lora_unet_down_blocks_0_resnets_3_conv1.alpha",
                                       "lora_unet_conv_in",
                                       "x",
                                       ""};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        char *original;
        assert_works(adapter_original_name(none[i], &original, &err), &err);
        assert_null(original);
    }
}

static void mistakes_are_told(void **state)
{
    (void)state;
    static const float values_of[128];
    safetensors_entry two[] = {{.name = "unet.mid_block.attentions.0.proj_in.lora_A.weight",
                                .type = DTYPE_F32,
                                .rank = 2,
                                .shape = {1, 8},
                                .count = 8,
                                .data = values_of},
                               {.name = "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight",
                                .type = DTYPE_F32,
                                .rank = 2,
                                .shape = {1, 8},
                                .count = 8,
                                .data = values_of}};
    safetensors *file;
    assert_works(safetensors_write(test_path("two.safetensors"), two, 2, NULL, 0, &err), &err);
    assert_fails(adapter_open(test_path("two.safetensors"), &file, &err), LECO_FORMAT, &err, "is there twice");
    assert_null(file);
    static const char *const metadata[][2] = {
        {"lora_adapter_metadata", "{\"unet.lora_alpha\": 3, \"unet.alpha_pattern\": {\"proj_.*\": 5}}"}};
    assert_works(safetensors_write(test_path("two.safetensors"), two, 1, metadata, 1, &err), &err);
    assert_fails(adapter_open(test_path("two.safetensors"), &file, &err), LECO_UNSUPPORTED, &err, "alpha_pattern",
                 "proj_.*");
    assert_null(file);
    static const char *const other[][2] = {{"lora_adapter_metadata", "[5"}};
    assert_works(safetensors_write(test_path("two.safetensors"), two, 1, other, 1, &err), &err);
    assert_works(adapter_open(test_path("two.safetensors"), &file, &err), &err);
    assert_int_equal(safetensors_count(file), 1);
    safetensors_close(file);
    static const char *const scaled[][2] = {
        {"lora_adapter_metadata", "{\"unet.lora_alpha\": 3, \"unet.use_rslora\": true}"}};
    two[0].shape[0] = 4;
    two[0].count = 32;
    assert_works(safetensors_write(test_path("two.safetensors"), two, 1, scaled, 1, &err), &err);
    assert_works(adapter_open(test_path("two.safetensors"), &file, &err), &err);
    double alpha = 0;
    const safetensors_entry *e = safetensors_find(file, "lora_unet_mid_block_attentions_0_proj_in.alpha");
    assert_true(e && safetensors_number(e, &alpha) && fabs(alpha - 6) < 1e-12); /* 3 sqrt(4) */
    safetensors_close(file);
}

/* ---- PEFT's config ---- */

#define LAYER(n) "base_model.model.mid_block.attentions." #n ".proj_in.lora_A.weight"

/* A folder as PEFT saves one, with that config (NULL: without). */
static const char *peft_folder(const char *config)
{
    static char folder[512];
    static const float zeros[32];
    char path[600];
    const safetensors_entry two[] = {
        {.name = LAYER(0), .type = DTYPE_F32, .rank = 2, .shape = {4, 8}, .count = 32, .data = zeros},
        {.name = LAYER(1), .type = DTYPE_F32, .rank = 2, .shape = {4, 8}, .count = 32, .data = zeros}};
    snprintf(folder, sizeof folder, "%s", test_path("peft"));
    assert_works(file_make_folders(folder, &err), &err);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    assert_works(safetensors_write(path, two, 2, NULL, 0, &err), &err);
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    remove(path);
    if (config) test_write(path, config, strlen(config));
    return folder;
}

/* NaN: there is none. */
static double alpha_of(const safetensors *file, const char *layer)
{
    double alpha = (double)NAN;
    char name[128];
    snprintf(name, sizeof name, "lora_unet_mid_block_attentions_%s_proj_in.alpha", layer);
    const safetensors_entry *e = safetensors_find(file, name);
    if (e) assert_true(safetensors_number(e, &alpha));
    return alpha;
}

static void pefts_config_says_how_strong(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        double alpha[2];
    } cases[] = {
        {"{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 2}", {2, 2}},
        {"{\"lora_alpha\": 2, \"use_rslora\": true}", {4, 4}}, /* 2 sqrt(4) */
        {"{\"lora_alpha\": 2, \"alpha_pattern\": {\"attentions.1.proj_in\": 3, \"proj_in\": 5}}", {5, 3}},
        {"{\"lora_alpha\": 2.5, \"alpha_pattern\": null, \"init_lora_weights\": \"gaussian\"}", {2.5, 2.5}},
        {NULL, {(double)NAN, (double)NAN}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *folder = peft_folder(cases[i].config);
        char path[600];
        safetensors *file;
        snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
        for (int k = 0; k < 2; k++) {
            assert_works(adapter_open(k == 0 ? folder : path, &file, &err), &err);
            const double got[] = {alpha_of(file, "0"), alpha_of(file, "1")};
            for (int n = 0; n < 2; n++)
                assert_true(isnan(cases[i].alpha[n]) ? isnan(got[n]) : fabs(got[n] - cases[i].alpha[n]) < 1e-12);
            safetensors_close(file);
        }
    }
}

static void pefts_config_is_checked(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        leco_status status;
        const char *says, *too;
    } cases[] = {
        {"{\"peft_type\": \"LOHA\"}", LECO_UNSUPPORTED, "peft_type", "LOHA"},
        {"{\"peft_type\": \"IA3\"}", LECO_UNSUPPORTED, "peft_type", "IA3"},
        {"{\"peft_type\": 3}", LECO_INVALID, "peft_type", "found 3"},
        {"{\"init_lora_weights\": \"pissa_niter_4\"}", LECO_UNSUPPORTED, "init_lora_weights", "pissa_niter_4"},
        {"{\"lora_alpha\": \"two\"}", LECO_INVALID, "lora_alpha", "two"},
        {"{\"lora_alpha\": NaN}", LECO_INVALID, "lora_alpha", "NaN"},
        {"{\"use_rslora\": 1}", LECO_INVALID, "use_rslora", "found 1"},
        {"{\"alpha_pattern\": [1]}", LECO_FORMAT, "alpha_pattern", "an object of numbers"},
        {"{\"alpha_pattern\": {\"proj_in\": true}}", LECO_INVALID, "proj_in", "true"},
        {"{\"alpha_pattern\": {\"proj_.*\": 5}}", LECO_UNSUPPORTED, "alpha_pattern", "proj_.*"},
        {"[]", LECO_FORMAT, "adapter_config.json", "expected an object"},
        {"{\"lora_alpha\": ", LECO_FORMAT, "adapter_config.json:1", ""},
        {"", LECO_FORMAT, "adapter_config.json", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        safetensors *file;
        const char *folder = peft_folder(cases[i].config);
        assert_fails(adapter_open(folder, &file, &err), cases[i].status, &err, "adapter_config.json", cases[i].says,
                     cases[i].too);
        assert_null(file);
    }
    /* Only what has PEFT's names goes by it. */
    char path[600];
    safetensors *file;
    static const float zeros[32];
    const safetensors_entry one = {.name = "unet.mid_block.attentions.0.proj_in.lora_A.weight",
                                   .type = DTYPE_F32,
                                   .rank = 2,
                                   .shape = {4, 8},
                                   .count = 32,
                                   .data = zeros};
    snprintf(path, sizeof path, "%s/other.safetensors", peft_folder("{\"lora_alpha\": 2}"));
    assert_works(safetensors_write(path, &one, 1, NULL, 0, &err), &err);
    assert_works(adapter_open(path, &file, &err), &err);
    assert_true(isnan(alpha_of(file, "0")));
    safetensors_close(file);
    assert_works(file_make_folders(test_path("none"), &err), &err);
    assert_fails(adapter_open(test_path("none"), &file, &err), LECO_FORMAT, &err, "holds no LoRA",
                 "pytorch_lora_weights.safetensors");
    assert_null(file);
}

/* A convolution's magnitudes are of its outputs, though they lie as LyCORIS's of inputs do. */
static void magnitudes_are_of_outputs(void **state)
{
    (void)state;
    static const char *const names[] = {
        "base_model.model.conv_in.lora_magnitude_vector", "unet.conv_in.lora_magnitude_vector.weight",
        "unet.conv_in.lora_magnitude_vector.mine.weight", "lora_unet_conv_in.dora_scale"};
    static const float numbers[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const safetensors_entry one = {
            .name = names[i], .type = DTYPE_F32, .rank = 4, .shape = {1, 8, 1, 1}, .count = 8, .data = numbers};
        safetensors *file;
        assert_works(safetensors_write(test_path("magnitude.safetensors"), &one, 1, NULL, 0, &err), &err);
        assert_works(adapter_open(test_path("magnitude.safetensors"), &file, &err), &err);
        const safetensors_entry *e = safetensors_find(file, "lora_unet_conv_in.dora_scale");
        assert_true(e && e->rank == 4 && e->count == 8);
        assert_int_equal(e->shape[0], i < 3 ? 8 : 1); /* LyCORIS's stays */
        assert_int_equal(e->shape[1], i < 3 ? 1 : 8);
        assert_memory_equal(e->data, numbers, sizeof numbers);
        safetensors_close(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_do_as_in_diffusers),
        cmocka_unit_test(names_become_kohyas),
        cmocka_unit_test(sdxl_is_called_as_sd_scripts_calls_it),
        cmocka_unit_test(mistakes_are_told),
        cmocka_unit_test(magnitudes_are_of_outputs),
        cmocka_unit_test(pefts_config_says_how_strong),
        cmocka_unit_test(pefts_config_is_checked),
    };
    return cmocka_run_group_tests_name("parity/peft", tests, NULL, NULL);
}
