/* Training what reaches into the text encoders, of models with one and with two: they in the student's graph, their
 * memory, their files. */
#include "model_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "diffusion/denoiser.h"
#include "leco/leco.h"
#include "model/family.h"
#include "model/kinds.h"
#include "test_support.h"

#define MODEL FIXTURE("sd1-like")
#define XL FIXTURE("sdxl-like")

static leco_error err;

/* ---- the encoder in the graph ---- */

/* Adapters of both parts, with values that show. */
static trainable *adapter_of(model *m)
{
    trainable *t;
    rng r;
    const trainable_options options = {
        .kind = &kind_lora, .layers = {.text_encoder = true}, .rank = 2, .alpha = 2, .exact = DTYPE_F32};
    rng_seed(&r, RNG_CPU, 5);
    assert_works(trainable_create(m, &options, &r, &t, &err), &err);
    size_t count;
    const param *params = trainable_params(t, &count);
    for (size_t i = 0; i < count; i++)
        rng_uniform(&r, params[i].value, (size_t)shape_count(&params[i].shape), -0.2f, 0.2f);
    return t;
}

/* Predicts for two samples of different prompts. */
static void predict(denoiser *n, const conditioning of[2], float *out)
{
    float x[2 * 8 * 8 * 4];
    rng r;
    rng_seed(&r, RNG_CPU, 3);
    rng_uniform(&r, x, sizeof x / sizeof *x, -1, 1);
    for (int i = 0; i < 2; i++) denoiser_set_context(n, i, &of[i]);
    assert_works(denoiser_run(n, x, 500, out, &err), &err);
}

/* And the pooled vector, where there is one. Samples of a batch have ids, ends and sizes of their own. */
static void compare_places(const char *folder)
{
    model *m;
    device d;
    assert_works(model_open(folder, &m, &err), &err);
    assert_works(model_load(m, MODEL_UNET | MODEL_TEXT_ENCODER, &err), &err);
    assert_works(device_open(test_on("cpu") ? "cpu" : NULL, "float32", &d, &err), &err);
    trainable *t = adapter_of(m);
    const adapter_use use = {t, 0.5f};
    const adapter_set adapters = {&use, 1, NULL};
    conditioner *c;
    denoiser *apart, *whole;
    denoiser_options options = {.size = {2, 8, 8, 4}, .tokens = 77, .adapters = &adapters};
    assert_works(conditioner_create(&d, m, &adapters, m->family->text, &c, &err), &err);
    assert_works(denoiser_create(&d, m, &options, &apart, &err), &err);
    options.text = &m->family->text;
    assert_works(denoiser_create(&d, m, &options, &whole, &err), &err);
    conditioning of[2];
    float one[2 * 8 * 8 * 4], other[2 * 8 * 8 * 4];
    for (int round = 0; round < 2; round++) {
        assert_works(conditioner_get(c, "a red circle", &of[0], &err), &err);
        assert_works(conditioner_get(c, "a star", &of[1], &err), &err);
        conditioning_set_size(&of[0], 32, 32, (picture_crop){0});
        conditioning_set_size(&of[1], 32, 32, (picture_crop){64, 48, 8, 4});
        predict(apart, of, one);
        predict(whole, of, other);
        for (size_t i = 0; i < sizeof one / sizeof *one; i++)
            if (!(one[i] - other[i] < 1e-5f && other[i] - one[i] < 1e-5f)) fail_msg("%zu: %g, %g", i, one[i], other[i]);
        float *values = trainable_values(t); /* the next run takes the values as they are then */
        for (size_t i = 0; i < trainable_count(t); i++) values[i] *= 1.5f;
        trainable_changed(t);
        conditioner_clear(c);
    }
    denoiser_destroy(whole);
    denoiser_destroy(apart);
    conditioner_destroy(c);
    trainable_destroy(t);
    model_close(m);
    device_close(&d);
}

static void encoders_in_the_graph_make_the_conditioners_states(void **state)
{
    (void)state;
    compare_places(MODEL);
    compare_places(XL);
}

static void check_reach(const char *folder, size_t encoders)
{
    model *m;
    assert_works(model_open(folder, &m, &err), &err);
    trainable *t = adapter_of(m);
    size_t modules[PART_COUNT] = {0};
    for (size_t i = 0; i < trainable_module_count(t); i++) {
        const layer_info *layer = &trainable_module_at(t, i)->layer;
        modules[layer->part]++;
        for (int later = (int)layer->part + 1; later < PART_COUNT; later++)
            assert_int_equal(modules[later], 0); /* the U-Net's come first, and draw as without the others */
    }
    assert_int_equal(modules[PART_TEXT_ENCODER], 6 * m->text.layers);
    assert_int_equal(modules[PART_TEXT_ENCODER_2], 6 * m->text_2.layers);
    assert_true(trainable_reaches(t, PART_TEXT_ENCODER) && trainable_reaches(t, PART_UNET));
    assert_true(trainable_reaches(t, PART_TEXT_ENCODER_2) == (encoders == 2) && trainable_reaches_texts(t));
    assert_false(trainable_reaches(t, PART_VAE));
    trainable_destroy(t);
    model_close(m);
}

static void an_adapter_reaches_what_was_selected(void **state)
{
    (void)state;
    check_reach(MODEL, 1);
    check_reach(XL, 2);
}

/* ---- whole trainings ---- */

#define TRAINING(model, network, prompts)                                                                              \
    "pretrained_model: {name_or_path: \"" model "\"}\n"                                                                \
    "network: " network "\n"                                                                                           \
    "train: {precision: float32, iterations: 4, max_denoising_steps: 4, lr: 1e-2, samples_per_trajectory: 2}\n"        \
    "save: {name: small, path: out, per_steps: 0}\n"                                                                   \
    "prompts: " prompts "\n"

#define TWO_BRANCHES                                                                                                   \
    "[{target: a red circle, positive: red, action: slider}, {target: a star, positive: blue, batch_size: 2}]"
static const char two_branches[] = TRAINING(MODEL, "{text_encoder: true}", TWO_BRANCHES),
                  two_branches_xl[] = TRAINING(XL, "{text_encoder: true}", TWO_BRANCHES);

static leco_status train(const char *text, const char *override, leco_train_report *report)
{
    test_write(test_path("train.yaml"), text, strlen(text));
    const leco_train_options o = {.overrides = &override, .override_count = override ? 1 : 0};
    *report = (leco_train_report){0};
    return leco_train(test_path("train.yaml"), &o, report, &err);
}

/* The sum of all that moved in tensors whose names begin so. */
static double size_of(const char *path, const char *prefix, const char *suffix)
{
    safetensors *file;
    double sum = 0;
    assert_works(safetensors_open(path, &file, &err), &err);
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const safetensors_entry *e = safetensors_at(file, i);
        if (strncmp(e->name, prefix, strlen(prefix)) != 0 || !strstr(e->name, suffix)) continue;
        for (size_t k = 0; k < e->count; k++)
            sum += (double)((const float *)e->data)[k] * (double)((const float *)e->data)[k];
    }
    safetensors_close(file);
    return sum;
}

static void a_lora_of_the_text_encoder_is_trained_and_saved(void **state)
{
    (void)state;
    leco_train_report report;
    assert_works(train(two_branches, NULL, &report), &err);
    assert_int_equal(report.planned_bytes, report.measured_bytes);
    assert_true(size_of(report.path, "lora_te_text_model_encoder_layers_0_self_attn_q_proj", ".lora_up.weight") > 0);
    assert_true(size_of(report.path, "lora_te_text_model_encoder_layers_3_mlp_fc2", ".lora_up.weight") > 0);
    assert_true(size_of(report.path, "lora_unet_mid_block", ".lora_up.weight") > 0);
    leco_model *opened;
    assert_works(leco_model_open(MODEL, NULL, &opened, &err), &err);
    assert_works(leco_model_add_lora(opened, report.path, 1, &err), &err);
    leco_model_close(opened);
    leco_train_report_free(&report);
    assert_works(train(two_branches, "network.text_encoder=false", &report), &err);
    assert_true(size_of(report.path, "lora_te_", "") == 0);
    leco_train_report_free(&report);
}

static void a_lora_of_two_text_encoders_is_trained_and_saved(void **state)
{
    (void)state;
    leco_train_report report;
    assert_works(train(two_branches_xl, NULL, &report), &err);
    assert_int_equal(report.planned_bytes, report.measured_bytes);
#define LAYER "text_model_encoder_layers_"
    static const char up[] = ".lora_up.weight";
    assert_true(size_of(report.path, "lora_te1_" LAYER "1_mlp_fc2", up) > 0);
    assert_true(size_of(report.path, "lora_te1_" LAYER "2_mlp_fc2", ".lora_down.weight") >
                0);                                                            /* as sd-scripts has it */
    assert_true(size_of(report.path, "lora_te1_" LAYER "2_mlp_fc2", up) == 0); /* nothing reads it */
    assert_true(size_of(report.path, "lora_te2_" LAYER "0_self_attn_q_proj", up) > 0);
    assert_true(size_of(report.path, "lora_te2_" LAYER "3_mlp_fc2", up) > 0); /* the pooled vector's */
    assert_true(size_of(report.path, "lora_te_", "") == 0);
#undef LAYER
    leco_model *opened;
    assert_works(leco_model_open(XL, NULL, &opened, &err), &err);
    assert_works(leco_model_add_lora(opened, report.path, 1, &err), &err);
    leco_model_close(opened);
    leco_train_report_free(&report);
    assert_works(train(two_branches_xl, "network.text_encoder=false", &report), &err);
    assert_true(size_of(report.path, "lora_te", "") == 0);
    leco_train_report_free(&report);
}

/* Within a budget the encoder's blocks, too, are computed again instead of kept: the same to the bit. */
static void keep_to_a_budget(const char *text, const char *prefix)
{
    static const char up[] = ".lora_up.weight";
    leco_train_report report;
    assert_works(train(text, NULL, &report), &err);
    const double sum = size_of(report.path, prefix, up), net = size_of(report.path, "lora_unet_", up);
    const leco_train_options o = {.memory = report.planned_bytes - 1};
    leco_train_report less = {0};
    assert_works(leco_train(test_path("train.yaml"), &o, &less, &err), &err);
    assert_true(less.planned_bytes < report.planned_bytes && less.planned_bytes == less.measured_bytes);
    assert_true(sum > 0 && size_of(less.path, prefix, up) == sum && size_of(less.path, "lora_unet_", up) == net);
    leco_train_report_free(&less);
    leco_train_report_free(&report);
}

static void a_budget_changes_no_number(void **state)
{
    (void)state;
    keep_to_a_budget(two_branches, "lora_te_");
    keep_to_a_budget(two_branches_xl, "lora_te2_");
}

/* So many texts that they are encoded as they are drawn: there are two encoders at work, over the same weights. */
static void stream_beside(const char *text)
{
    char prompts[1200] = "prompts.0.target=a ", *end = prompts + strlen(prompts);
    for (int part = 0; part < 2; part++) {
        end += sprintf(end, "{0");
        for (int i = 1; i < 90; i++) end += sprintf(end, "|%d", i);
        end += sprintf(end, "} ");
    }
    leco_train_report report;
    assert_works(train(text, prompts, &report), &err);
    assert_non_null(strstr(report.summary, "texts 64.0"));
    assert_int_equal(report.planned_bytes, report.measured_bytes);
    leco_train_report_free(&report);
}

static void texts_may_stream_beside_it(void **state)
{
    (void)state;
    stream_beside(two_branches);
    stream_beside(two_branches_xl);
}

/* ---- embeddings of two tables ---- */

static trainable *start(model *m, const char *words, int64_t vectors)
{
    trainable *t;
    rng r;
    const trainable_options options = {.kind = &kind_embedding,
                                       .layers = {.scope = SCOPE_EMBEDDING},
                                       .token = "<dot>",
                                       .start = words,
                                       .vectors = vectors,
                                       .exact = DTYPE_F32};
    rng_seed(&r, RNG_CPU, 1);
    assert_works(trainable_create(m, &options, &r, &t, &err), &err);
    return t;
}

static void each_table_has_first_words_of_its_own(void **state)
{
    (void)state;
    model *m;
    int32_t ids[77];
    assert_works(model_open(XL, &m, &err), &err);
    assert_works(model_map(m, MODEL_TEXT_ENCODER, &err), &err);
    trainable *t = start(m, "red", 1);
    assert_works(tokenizer_encode(m->tokenizer, "red", 3, ids, NULL, &err), &err);
    const int64_t rows = m->text.vocab_size, widths[] = {m->text.hidden_size, m->text_2.hidden_size};
    for (size_t i = 0; i < 2; i++) {
        weight *table;
        assert_works(weights_get(m->weights[i == 0 ? PART_TEXT_ENCODER : PART_TEXT_ENCODER_2],
                                 "text_model.embeddings.token_embedding.weight", SHAPE(rows, widths[i]), &table, &err),
                     &err);
        assert_memory_equal(trainable_module_at(t, i)->param[0].value,
                            (const float *)table->data + ids[1] * (int32_t)widths[i],
                            (size_t)widths[i] * sizeof(float));
    }
    trainable_destroy(t);
    model_close(m);
}

static const char rows_of_two[] = TRAINING(XL, "{type: embedding, token: \"<dot>\", vectors: 3, init: red circle}",
                                           "[{target: a <dot>, positive: a <thing> star, neutral: a star}]");

/* Of one text encoder: what it began as, and that every vector moved from there. */
static void check_rows(const safetensors *file, const char *name, const trainable_module *began)
{
    const size_t count = (size_t)shape_count(&began->param[0].shape);
    const safetensors_entry *e = safetensors_find(file, name);
    assert_non_null(e);
    assert_true(e->rank == 2 && e->shape[0] == 3 && e->shape[1] == began->layer.out && e->count == count);
    for (size_t i = 0; i < count; i++)
        assert_true(fabsf(((const float *)began->param[0].value)[i] - ((const float *)e->data)[i]) > 1e-4f);
}

static void rows_for_two_text_encoders_are_trained_together(void **state)
{
    (void)state;
    safetensors *file;
    model *m;
    const char *const beside = XL "/embedding.safetensors";
    const leco_train_options o = {.embeddings = &beside, .embedding_count = 1};
    test_write(test_path("train.yaml"), rows_of_two, strlen(rows_of_two));
    leco_train_report report = {0};
    assert_works(leco_train(test_path("train.yaml"), &o, &report, &err), &err);
    assert_int_equal(report.planned_bytes, report.measured_bytes);
    assert_non_null(strstr(report.summary, "embedding \"<dot>\" of 3 vectors, 120 parameters"));
    assert_works(safetensors_open(report.path, &file, &err), &err);
    assert_int_equal(safetensors_count(file), 2);
    assert_string_equal(safetensors_metadata(file, "modelspec.architecture"),
                        "stable-diffusion-xl-v1-base/textual-inversion");
    assert_string_equal(safetensors_metadata(file, "modelspec.trigger_phrase"), "<dot>");
    assert_works(model_open(XL, &m, &err), &err);
    assert_works(model_map(m, MODEL_TEXT_ENCODER, &err), &err);
    trainable *t = start(m, "red circle", 3);
    assert_int_equal(trainable_module_count(t), 2);
    assert_int_equal(trainable_module_at(t, 0)->first, trainable_module_at(t, 1)->first);
    check_rows(file, "clip_l", trainable_module_at(t, 0));
    check_rows(file, "clip_g", trainable_module_at(t, 1));
    trainable_destroy(t);
    model_close(m);
    safetensors_close(file);
    leco_train_report_free(&report);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encoders_in_the_graph_make_the_conditioners_states),
        cmocka_unit_test(an_adapter_reaches_what_was_selected),
        cmocka_unit_test(a_lora_of_the_text_encoder_is_trained_and_saved),
        cmocka_unit_test(a_lora_of_two_text_encoders_is_trained_and_saved),
        cmocka_unit_test(a_budget_changes_no_number),
        cmocka_unit_test(texts_may_stream_beside_it),
        cmocka_unit_test(each_table_has_first_words_of_its_own),
        cmocka_unit_test(rows_for_two_text_encoders_are_trained_together),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("unit/text_training", tests, NULL, NULL);
}
