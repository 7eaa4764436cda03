/* Training what reaches into the text encoder: the encoder in the student's graph, its memory, its files. */
#include "model_support.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "diffusion/denoiser.h"
#include "leco/leco.h"
#include "model/family.h"
#include "model/kinds.h"
#include "test_support.h"

#define MODEL FIXTURE("sd1-like")

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

static void an_encoder_in_the_graph_makes_the_conditioners_states(void **state)
{
    (void)state;
    model *m;
    device d;
    assert_works(model_open(MODEL, &m, &err), &err);
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

static void an_adapter_reaches_what_was_selected(void **state)
{
    (void)state;
    model *m;
    assert_works(model_open(MODEL, &m, &err), &err);
    trainable *t = adapter_of(m);
    size_t text = 0;
    for (size_t i = 0; i < trainable_module_count(t); i++) {
        const layer_info *layer = &trainable_module_at(t, i)->layer;
        if (layer->part == PART_TEXT_ENCODER) text++;
        if (text) assert_int_equal(layer->part, PART_TEXT_ENCODER); /* the U-Net's come first, and draw as without it */
    }
    assert_int_equal(text, 6 * m->text.layers);
    assert_true(trainable_reaches(t, PART_TEXT_ENCODER) && trainable_reaches(t, PART_UNET));
    assert_false(trainable_reaches(t, PART_VAE));
    trainable_destroy(t);
    model_close(m);
}

/* ---- whole trainings ---- */

#define TRAINING(network, prompts)                                                                                     \
    "pretrained_model: {name_or_path: \"" MODEL "\"}\n"                                                                \
    "network: " network "\n"                                                                                           \
    "train: {precision: float32, iterations: 4, max_denoising_steps: 4, lr: 1e-2, samples_per_trajectory: 2}\n"        \
    "save: {name: small, path: out, per_steps: 0}\n"                                                                   \
    "prompts: " prompts "\n"

static const char two_branches[] =
    TRAINING("{text_encoder: true}", "[{target: a red circle, positive: red, action: slider},"
                                     " {target: a star, positive: blue, batch_size: 2}]");

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

/* Within a budget the encoder's blocks, too, are computed again instead of kept: the same to the bit. */
static void a_budget_changes_no_number(void **state)
{
    (void)state;
    static const char up[] = ".lora_up.weight";
    leco_train_report report;
    assert_works(train(two_branches, NULL, &report), &err);
    const double text = size_of(report.path, "lora_te_", up), net = size_of(report.path, "lora_unet_", up);
    const leco_train_options o = {.memory = report.planned_bytes - 1};
    leco_train_report less = {0};
    assert_works(leco_train(test_path("train.yaml"), &o, &less, &err), &err);
    assert_true(less.planned_bytes < report.planned_bytes && less.planned_bytes == less.measured_bytes);
    assert_true(size_of(less.path, "lora_te_", up) == text && size_of(less.path, "lora_unet_", up) == net);
    leco_train_report_free(&less);
    leco_train_report_free(&report);
}

/* So many texts that they are encoded as they are drawn: there are two encoders at work, over the same weights. */
static void texts_may_stream_beside_it(void **state)
{
    (void)state;
    char prompts[1200] = "prompts.0.target=a ", *end = prompts + strlen(prompts);
    for (int part = 0; part < 2; part++) {
        end += sprintf(end, "{0");
        for (int i = 1; i < 90; i++) end += sprintf(end, "|%d", i);
        end += sprintf(end, "} ");
    }
    leco_train_report report;
    assert_works(train(two_branches, prompts, &report), &err);
    assert_non_null(strstr(report.summary, "texts 64.0"));
    assert_int_equal(report.planned_bytes, report.measured_bytes);
    leco_train_report_free(&report);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_encoder_in_the_graph_makes_the_conditioners_states),
        cmocka_unit_test(an_adapter_reaches_what_was_selected),
        cmocka_unit_test(a_lora_of_the_text_encoder_is_trained_and_saved),
        cmocka_unit_test(a_budget_changes_no_number),
        cmocka_unit_test(texts_may_stream_beside_it),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("unit/text_training", tests, NULL, NULL);
}
