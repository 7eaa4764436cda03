/* LoRAs as PEFT and diffusers save them, now and formerly (tools/fixtures_peft.py): what diffusers makes of them. */
#include "parity_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/name_table.h"
#include "leco/leco.h"
#include "model/adapter_keys.h"
#include "model/adapter_open.h"
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_do_as_in_diffusers),
        cmocka_unit_test(names_become_kohyas),
        cmocka_unit_test(sdxl_is_called_as_sd_scripts_calls_it),
        cmocka_unit_test(mistakes_are_told),
    };
    return cmocka_run_group_tests_name("parity/peft", tests, NULL, NULL);
}
