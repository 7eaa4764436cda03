/* LoRA: which layers, in which order, with which initial values; files written and read; files for other models. */
#include "model_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/session.h"
#include "model/family.h"
#include "test_lora.h"

#define LORA FIXTURE("sd1-like/lora.safetensors")

static unet_config unet_of(const char *folder)
{
    leco_error err = {0};
    unet_config config;
    assert_works(unet_config_read(folder, &config, &err), &err);
    return config;
}

static trainable *create(const unet_config *config, training_method method, int64_t rank, float alpha, uint64_t seed)
{
    leco_error err = {0};
    trainable *l;
    rng r;
    rng_seed(&r, RNG_CPU, seed);
    trainable_options options = {
        .kind = &kind_lora, .layers = {.method = method}, .rank = rank, .alpha = alpha, .exact = DTYPE_F32};
    assert_works(test_lora_create(config, &options, &r, &l, &err), &err);
    return l;
}

/* ---- layers ---- */

static size_t count_of(const char *preset, training_method method)
{
    leco_error err = {0};
    model *m;
    assert_works(model_preset(preset, &m, &err), &err);
    trainable *l = create(&m->unet, method, 1, 1, 0);
    size_t count = trainable_module_count(l);
    trainable_destroy(l);
    model_close(m);
    return count;
}

static void layers_are_counted(void **state)
{
    (void)state;
    assert_int_equal(count_of("sd15", METHOD_FULL), 192);
    assert_int_equal(count_of("sd15", METHOD_SELFATTN), 64);
    assert_int_equal(count_of("sd15", METHOD_XATTN), 64);
    assert_int_equal(count_of("sd15", METHOD_XATTN_STRICT), 32);
    assert_int_equal(count_of("sd15", METHOD_NOXATTN), 128);
    assert_int_equal(count_of("sd15", METHOD_INNOXATTN), 128);
    assert_int_equal(count_of("sd21", METHOD_FULL), 192);
    assert_int_equal(count_of("sdxl", METHOD_FULL), 722);
}

static void order_is_torchs(void **state)
{
    (void)state;
    static const char *const within[] = {"proj_in",
                                         "transformer_blocks.0.attn1.to_q",
                                         "transformer_blocks.0.attn1.to_k",
                                         "transformer_blocks.0.attn1.to_v",
                                         "transformer_blocks.0.attn1.to_out.0",
                                         "transformer_blocks.0.attn2.to_q",
                                         "transformer_blocks.0.attn2.to_k",
                                         "transformer_blocks.0.attn2.to_v",
                                         "transformer_blocks.0.attn2.to_out.0",
                                         "transformer_blocks.0.ff.net.0.proj",
                                         "transformer_blocks.0.ff.net.2",
                                         "proj_out"};
    static const char *const transformers[] = {"down_blocks.0.attentions.0", "down_blocks.1.attentions.0",
                                               "up_blocks.1.attentions.0",   "up_blocks.1.attentions.1",
                                               "up_blocks.2.attentions.0",   "up_blocks.2.attentions.1",
                                               "mid_block.attentions.0"};
    unet_config config = unet_of(FIXTURE("sd1-like/unet"));
    trainable *l = create(&config, METHOD_FULL, 2, 1, 3);
    size_t each = sizeof within / sizeof *within, blocks = sizeof transformers / sizeof *transformers;
    assert_int_equal(trainable_module_count(l), each * blocks);
    for (size_t i = 0; i < each * blocks; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s.%s", transformers[i / each], within[i % each]);
        assert_string_equal(trainable_module_at(l, i)->layer.path, path);
    }
    trainable_destroy(l);
}

/* The order of all layers, as torch's named_modules gives it. */
static void layers_are_in_order(void **state)
{
    (void)state;
    leco_error err = {0};
    static char list[65536];
    model m = {.unet = unet_of(FIXTURE("sd1-like/unet"))};
    const layer_list *layers;
    assert_works(model_layers(&m, PART_UNET, &layers, &err), &err);
    for (size_t i = 0; i < layers->count; i++) strcat(strcat(list, layers->layer[i].path), " ");
    model_free_layers(&m);
    static const char *const expected[] = {
        "conv_in time_embedding.linear_1 time_embedding.linear_2 down_blocks.0.attentions.0.proj_in ",
        "down_blocks.0.attentions.0.proj_out down_blocks.0.resnets.0.conv1 down_blocks.0.resnets.0.time_emb_proj "
        "down_blocks.0.resnets.0.conv2 down_blocks.0.downsamplers.0.conv down_blocks.1.attentions.0.proj_in ",
        "down_blocks.1.resnets.0.conv1 down_blocks.1.resnets.0.time_emb_proj down_blocks.1.resnets.0.conv2 "
        "down_blocks.1.resnets.0.conv_shortcut ",
        "mid_block.resnets.0.conv1 mid_block.resnets.0.time_emb_proj mid_block.resnets.0.conv2 "
        "mid_block.resnets.1.conv1 mid_block.resnets.1.time_emb_proj mid_block.resnets.1.conv2 conv_out ",
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) assert_non_null(strstr(list, expected[i]));
    assert_ptr_equal(strstr(list, expected[0]), list);
}

static void initial_values_are_torchs(void **state)
{
    (void)state;
    unet_config config = unet_of(FIXTURE("sd1-like/unet"));
    trainable *l = create(&config, METHOD_FULL, 3, 1, 42);
    rng r;
    rng_seed(&r, RNG_CPU, 42);
    for (size_t i = 0; i < trainable_module_count(l); i++) {
        const trainable_module *m = trainable_module_at(l, i);
        size_t down = (size_t)(m->rank * m->layer.in), up = (size_t)(m->layer.out * m->rank);
        float bound = (float)(1 / sqrt((double)m->layer.in)), *draw = calloc(down + up, sizeof *draw);
        rng_uniform(&r, draw, down, -bound, bound);
        rng_uniform(&r, draw, up, -1, 1);
        rng_uniform(&r, draw, down, -bound, bound);
        const float *values = m->param[DOWN].value, *zeros = m->param[UP].value;
        for (size_t k = 0; k < down; k++) assert_true(fabsf(values[k] - draw[k]) <= 1e-6f * bound);
        for (size_t k = 0; k < up; k++) assert_true(zeros[k] == 0);
        assert_non_null(m->param[DOWN].grad);
        assert_non_null(m->param[UP].grad);
        free(draw);
    }
    trainable_destroy(l);
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    leco_error err = {0};
    unet_config config = unet_of(FIXTURE("sd1-like/unet"));
    trainable *l;
    rng r;
    rng_seed(&r, RNG_CPU, 0);
    trainable_options options = {
        .kind = &kind_lora, .layers = {.method = METHOD_FULL}, .rank = 0, .alpha = 1, .exact = DTYPE_F32};
    assert_fails(test_lora_create(&config, &options, &r, &l, &err), LECO_INVALID, &err, "rank 0");
    options.rank = 4;
    options.alpha = NAN;
    assert_fails(test_lora_create(&config, &options, &r, &l, &err), LECO_INVALID, &err, "alpha");
    assert_null(l);
}

/* ---- files ---- */

static void randomise(trainable *l, uint64_t seed)
{
    rng r;
    rng_seed(&r, RNG_CPU, seed);
    size_t count;
    param *params = trainable_params(l, &count);
    for (size_t i = 0; i < count; i++) rng_uniform(&r, params[i].value, (size_t)shape_count(&params[i].shape), -1, 1);
}

static void assert_same_values(trainable *a, trainable *b)
{
    size_t count, count_of_b;
    const param *of_a = trainable_params(a, &count), *of_b = trainable_params(b, &count_of_b);
    assert_int_equal(count, count_of_b);
    for (size_t i = 0; i < count; i++) {
        const param *x = &of_a[i], *y = &of_b[i];
        assert_true(shape_equal(&x->shape, &y->shape));
        assert_memory_equal(x->value, y->value, (size_t)shape_count(&x->shape) * sizeof(float));
    }
}

static void saved_files_load_again(void **state)
{
    (void)state;
    static const char *const folders[] = {FIXTURE("sd1-like/unet"), FIXTURE("sd2-like/unet")};
    const char *path = test_path("saved.safetensors");
    for (size_t i = 0; i < 2; i++) {
        leco_error err = {0};
        unet_config config = unet_of(folders[i]);
        trainable *l = create(&config, METHOD_XATTN, 3, 1.5f, 1), *again,
                  *blank = create(&config, METHOD_XATTN, 3, 1.5f, 2);
        randomise(l, 9);
        assert_works(trainable_save(l, path, DTYPE_F32, NULL, &err), &err);
        assert_works(test_lora_load(path, &config, NULL, DTYPE_F32, &again, &err), &err);
        assert_same_values(l, again);
        assert_true(trainable_module_at(again, 0)->alpha == 1.5f);
        assert_null(trainable_module_at(again, 0)->param[DOWN].grad);
        assert_works(trainable_load_values(blank, path, &err), &err);
        assert_same_values(l, blank);
        trainable_destroy(again);
        trainable_destroy(blank);
        trainable_destroy(l);
    }
}

static void keys_and_shapes_are_kohyas(void **state)
{
    (void)state;
    leco_error err = {0};
    unet_config config = unet_of(FIXTURE("sd1-like/unet"));
    trainable *l = create(&config, METHOD_FULL, 4, 1, 1);
    const char *path = test_path("keys.safetensors");
    const char *const extra[][2] = {{"ss_seed", "1"}};
    trainable_metadata m = {.output_name = "no-red",
                            .comment = "erase: red",
                            .family = family_of(&(model){.unet = config}),
                            .extra = extra,
                            .extra_count = 1,
                            .resolution = "64x64",
                            .date = "2026-01-02T03:04:05"};
    assert_works(trainable_save(l, path, DTYPE_BF16, &m, &err), &err);

    safetensors *theirs, *ours;
    assert_works(safetensors_open(LORA, &theirs, &err), &err);
    assert_works(safetensors_open(path, &ours, &err), &err);
    assert_int_equal(safetensors_count(theirs), safetensors_count(ours));
    for (size_t i = 0; i < safetensors_count(theirs); i++) {
        const safetensors_entry *e = safetensors_at(theirs, i), *found;
        assert_works(safetensors_require(ours, e->name, e->rank, e->shape, &found, &err), &err);
        assert_int_equal(found->type, DTYPE_BF16);
        if (i) assert_true(strcmp(safetensors_at(ours, i - 1)->name, safetensors_at(ours, i)->name) < 0);
    }
    static const char *const pairs[][2] = {{"ss_network_module", "networks.lora"},
                                           {"ss_network_dim", "4"},
                                           {"ss_network_alpha", "1.0"},
                                           {"ss_base_model_version", "sd_v1"},
                                           {"ss_output_name", "no-red"},
                                           {"ss_training_comment", "erase: red"},
                                           {"ss_seed", "1"},
                                           {"modelspec.sai_model_spec", "1.0.1"},
                                           {"modelspec.architecture", "stable-diffusion-v1/lora"},
                                           {"modelspec.implementation", "diffusers"},
                                           {"modelspec.title", "no-red"},
                                           {"modelspec.resolution", "64x64"},
                                           {"modelspec.date", "2026-01-02T03:04:05"},
                                           {"modelspec.prediction_type", "epsilon"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        assert_string_equal(safetensors_metadata(ours, pairs[i][0]), pairs[i][1]);
    const char *hash = safetensors_metadata(ours, "sshs_model_hash");
    assert_int_equal(strlen(hash), 64);
    assert_string_equal(safetensors_metadata(ours, "modelspec.hash_sha256") + 2, hash);
    /* SHA-256 of nothing: the file is shorter than the 1 MiB at which the legacy hash begins. */
    assert_string_equal(safetensors_metadata(ours, "sshs_legacy_hash"), "e3b0c442");
    safetensors_close(ours);
    safetensors_close(theirs);
    trainable_destroy(l);
}

static void values_that_overflow_are_not_saved(void **state)
{
    (void)state;
    leco_error err = {0};
    unet_config config = unet_of(FIXTURE("sd1-like/unet"));
    trainable *l = create(&config, METHOD_FULL, 4, 1, 1);
    const char *path = test_path("overflow.safetensors");
    ((float *)trainable_module_at(l, 5)->param[UP].value)[0] = 1e6f;
    assert_fails(trainable_save(l, path, DTYPE_F16, NULL, &err), LECO_INVALID, &err, path, "lora_up.weight", "float16");
    assert_works(trainable_save(l, path, DTYPE_BF16, NULL, &err), &err);
    ((float *)trainable_module_at(l, 5)->param[UP].value)[0] = NAN;
    assert_fails(trainable_save(l, path, DTYPE_F32, NULL, &err), LECO_INVALID, &err, path, "finite");
    assert_fails(trainable_save(l, path, DTYPE_I32, NULL, &err), LECO_INVALID, &err, "int32");
    trainable_destroy(l);
}

static void multiplier_scales_up(void **state)
{
    (void)state;
    leco_error err = {0};
    unet_config config = unet_of(FIXTURE("sd1-like/unet"));
    trainable *l;
    assert_works(test_lora_load(LORA, &config, NULL, DTYPE_F32, &l, &err), &err);
    trainable_module *m = trainable_module_at(l, 0);
    float first = ((float *)m->param[UP].value)[0];
    trainable_set_multiplier(l, -2);
    assert_true(((float *)m->param[UP].value)[0] == -2 * first);
    trainable_set_multiplier(l, 0.5f);
    assert_true(((float *)m->param[UP].value)[0] == 0.5f * first);
    /* What is written doesn't depend on it. */
    trainable *again;
    const char *path = test_path("multiplier.safetensors");
    assert_works(trainable_save(l, path, DTYPE_F32, NULL, &err), &err);
    assert_works(test_lora_load(path, &config, NULL, DTYPE_F32, &again, &err), &err);
    trainable_set_multiplier(l, 1);
    assert_same_values(l, again);
    trainable_destroy(again);
    trainable_destroy(l);
}

/* ---- files of other models, and broken ones ---- */

static bool only(safetensors_entry *e, const char *name)
{
    if (strcmp(e->name, "lora_unet_mid_block_attentions_0_proj_in.alpha") != 0) return false;
    e->name = name;
    return true;
}

static bool rename_unknown(safetensors_entry *e, float *data)
{
    (void)data;
    if (!only(e, "lora_unet_mid_block_extra.alpha")) return strstr(e->name, "attn2") == NULL;
    return true;
}

static bool rename_sgm(safetensors_entry *e, float *data)
{
    (void)data;
    return only(e, "lora_unet_input_blocks_4_0_strange.alpha");
}

static bool rename_te2(safetensors_entry *e, float *data)
{
    (void)data;
    return only(e, "lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha");
}

static bool rename_te(safetensors_entry *e, float *data)
{
    (void)data;
    return only(e, "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha");
}

static bool rename_peft(safetensors_entry *e, float *data)
{
    (void)data;
    return only(e, "unet.mid_block.attentions.0.proj_in.lora_A.weight");
}

static bool drop_up(safetensors_entry *e, float *data)
{
    (void)data;
    return strcmp(e->name, "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight") != 0;
}

static bool turn_up(safetensors_entry *e, float *data)
{
    (void)data;
    if (strcmp(e->name, "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight") == 0) {
        e->shape[0] = 4;
        e->shape[1] = (int64_t)e->count / 4;
    }
    return true;
}

static bool put_nan(safetensors_entry *e, float *data)
{
    if (strcmp(e->name, "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight") == 0) data[3] = NAN;
    return true;
}

static bool nothing(safetensors_entry *e, float *data)
{
    (void)e;
    (void)data;
    return false;
}

static void bad_files_are_refused(void **state)
{
    (void)state;
    static const struct {
        bool (*change)(safetensors_entry *entry, float *data);
        leco_status status;
        const char *says, *too;
    } cases[] = {
        {rename_unknown, LECO_INVALID, "for another model", "lora_unet_mid_block_extra"},
        {rename_sgm, LECO_UNSUPPORTED, "original checkpoints", "lora_unet_input_blocks_4_0_strange"},
        {rename_te2, LECO_UNSUPPORTED, "no text encoder", "lora_te2_"},
        {rename_te, LECO_UNSUPPORTED, "no text encoder", "lora_te_"},
        {rename_peft, LECO_FORMAT, "missing", "lora_up.weight"},
        {drop_up, LECO_FORMAT, "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight", "missing"},
        {turn_up, LECO_INVALID, "for another model", "has shape [4,24,1,1], expected [24,4]"},
        {put_nan, LECO_FORMAT, "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight", "element 3"},
        {nothing, LECO_FORMAT, "no LoRA", ""},
    };
    unet_config config = unet_of(FIXTURE("sd1-like/unet"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        leco_error err = {0};
        trainable *l;
        size_t size;
        unsigned char *data = test_read(LORA, &size);
        const char *path = test_path("bad.safetensors");
        test_write(path, data, size);
        free(data);
        model_rewrite(path, cases[i].change);
        assert_fails(test_lora_load(path, &config, NULL, DTYPE_F32, &l, &err), cases[i].status, &err, path,
                     cases[i].says, cases[i].too);
        assert_null(l);
    }
}

static void other_models_are_noticed_by_shape(void **state)
{
    (void)state;
    leco_error err = {0};
    trainable *l;
    unet_config sd1 = unet_of(FIXTURE("sd1-like/unet")), sd2 = unet_of(FIXTURE("sd2-like/unet"));
    assert_fails(test_lora_load(LORA, &sd2, NULL, DTYPE_F32, &l, &err), LECO_INVALID, &err, LORA, "for another model");
    trainable *made = create(&sd1, METHOD_FULL, 2, 1, 1);
    assert_fails(trainable_load_values(made, LORA, &err), LECO_FORMAT, &err, LORA, "lora_unet_");
    trainable_destroy(made);
    made = create(&sd1, METHOD_XATTN, 4, 1, 1);
    assert_fails(trainable_load_values(made, LORA, &err), LECO_INVALID, &err, LORA, "tensors");
    trainable_destroy(made);
    made = create(&sd1, METHOD_FULL, 4, 8, 1);
    assert_fails(trainable_load_values(made, LORA, &err), LECO_INVALID, &err, "alpha", "8");
    trainable_destroy(made);
}

static bool drop_alpha(safetensors_entry *e, float *data)
{
    (void)data;
    return strstr(e->name, ".alpha") == NULL;
}

static void a_missing_alpha_is_the_rank(void **state)
{
    (void)state;
    leco_error err = {0};
    trainable *l;
    size_t size;
    unsigned char *data = test_read(LORA, &size);
    const char *path = test_path("alpha.safetensors");
    test_write(path, data, size);
    free(data);
    model_rewrite(path, drop_alpha);
    unet_config config = unet_of(FIXTURE("sd1-like/unet"));
    assert_works(test_lora_load(path, &config, NULL, DTYPE_F32, &l, &err), &err);
    assert_true(trainable_module_at(l, 0)->alpha == 4);
    trainable_destroy(l);
}

/* ---- the text encoder ---- */

/* One adapter on one layer: the hidden states must change, either way. */
static void text_encoder_adapters_apply(void **state)
{
    (void)state;
    leco_error err = {0};
    static float down[24], up[72], alpha = 1;
    for (int i = 0; i < 24; i++) down[i] = 0.1f * (float)(i % 5 - 2);
    for (int i = 0; i < 72; i++) up[i] = 0.2f * (float)(i % 7 - 3);
    const safetensors_entry entries[] = {
        {"lora_te_text_model_encoder_layers_1_mlp_fc1.lora_down.weight", DTYPE_F32, 2, {1, 24}, 24, down},
        {"lora_te_text_model_encoder_layers_1_mlp_fc1.lora_up.weight", DTYPE_F32, 2, {72, 1}, 72, up},
        {"lora_te_text_model_encoder_layers_1_mlp_fc1.alpha", DTYPE_F32, 0, {0}, 1, &alpha},
    };
    const char *path = test_path("text.safetensors");
    assert_works(safetensors_write(path, entries, 3, NULL, 0, &err), &err);
    unet_config config = unet_of(FIXTURE("sd1-like/unet"));
    text_config text;
    weights *w;
    trainable *l;
    assert_works(text_config_read(FIXTURE("sd1-like/text_encoder"), &text, &err), &err);
    assert_works(weights_open(FIXTURE("sd1-like/text_encoder"), &w, &err), &err);
    assert_works(test_lora_load(path, &config, &text, DTYPE_F32, &l, &err), &err);
    assert_int_equal(trainable_module_count(l), 1);
    assert_int_equal(trainable_module_at(l, 0)->layer.part, PART_TEXT_ENCODER);

    float results[3][3 * 24];
    const float multipliers[] = {0, 1, -1};
    workspace *memory = workspace_create(&host_memory);
    for (int i = 0; i < 3; i++) {
        const adapter_use use = {l, multipliers[i]};
        graph *g = graph_create(DTYPE_F32);
        nn c;
        nn_init(&c, g, w, &(adapter_set){&use, 1, NULL}, PART_TEXT_ENCODER);
        text_encoder t = text_encoder_build(&c, &text, 1, 3, (text_options){0});
        assert_works(graph_finish(g, &err), &err);
        session *s;
        assert_works(session_open(g, &backend_ref, memory, &s, &err), &err);
        assert_int_equal(session_write_i32(s, t.ids, (const int32_t[]){5, 6, 7}, 3, NULL), LECO_OK);
        assert_int_equal(session_run(s, NULL), LECO_OK);
        assert_int_equal(session_read(s, t.hidden_states, results[i], 3 * 24, NULL), LECO_OK);
        session_destroy(s);
        graph_destroy(g);
    }
    double change = 0, mirror = 0;
    for (int i = 0; i < 3 * 24; i++) {
        change += fabs((double)(results[1][i] - results[0][i]));
        mirror += fabs((double)(results[2][i] - results[0][i]));
    }
    assert_true(change > 0.01);
    assert_true(mirror > 0.01);
    workspace_destroy(memory);
    trainable_destroy(l);
    weights_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_are_counted),
        cmocka_unit_test(order_is_torchs),
        cmocka_unit_test(layers_are_in_order),
        cmocka_unit_test(initial_values_are_torchs),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(saved_files_load_again),
        cmocka_unit_test(keys_and_shapes_are_kohyas),
        cmocka_unit_test(values_that_overflow_are_not_saved),
        cmocka_unit_test(multiplier_scales_up),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(other_models_are_noticed_by_shape),
        cmocka_unit_test(a_missing_alpha_is_the_rank),
        cmocka_unit_test(text_encoder_adapters_apply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
