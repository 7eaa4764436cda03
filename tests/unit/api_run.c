/* leco_run on the parity fixtures, leco_inspect on all it can describe, and a small bench. */
#include "model_support.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"
#include "leco/leco.h"

#define SD1 FIXTURE("sd1-like")

static leco_error err;
static leco_model *model;

/* Copies tensors of a case file under other names into test_path("in.safetensors"). */
static void make_input(const safetensors *file, const char *const (*names)[2], size_t count)
{
    safetensors_entry entries[4];
    for (size_t i = 0; i < count; i++) {
        const safetensors_entry *e = safetensors_find(file, names[i][0]);
        if (!e) fail_msg("%s has no %s", safetensors_path(file), names[i][0]);
        entries[i] = *e;
        entries[i].name = names[i][1];
    }
    assert_works(safetensors_write(test_path("in.safetensors"), entries, count, NULL, 0, &err), &err);
}

/* Largest error over largest magnitude of tensor `name` in the output, against `expected` of the case file. */
static void check_output(const safetensors *file, const char *name, const char *expected)
{
    safetensors *out;
    assert_works(safetensors_open(test_path("out.safetensors"), &out, &err), &err);
    const safetensors_entry *a = safetensors_find(out, name), *b = safetensors_find(file, expected);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(a->type, DTYPE_F32);
    assert_int_equal(a->rank, b->rank);
    assert_memory_equal(a->shape, b->shape, (size_t)a->rank * sizeof a->shape[0]);
    double error = 0, size = 0;
    const float *x = a->data, *y = b->data;
    for (size_t i = 0; i < a->count; i++) {
        error = fmax(error, fabs((double)x[i] - (double)y[i]));
        size = fmax(size, fabs((double)y[i]));
    }
    printf("  %s: %.1e\n", expected, error / size);
    assert_true(error < 1e-4 * size);
    safetensors_close(out);
}

static void run_case(const char *module, const char *file_name, const char *const (*inputs)[2], size_t input_count,
                     const char *const (*outputs)[2], size_t output_count)
{
    safetensors *file;
    char path[512];
    snprintf(path, sizeof path, "%s/%s", SD1, file_name);
    assert_works(safetensors_open(path, &file, &err), &err);
    make_input(file, inputs, input_count);
    assert_works(leco_run(model, module, test_path("in.safetensors"), NULL, test_path("out.safetensors"), &err), &err);
    for (size_t i = 0; i < output_count; i++) check_output(file, outputs[i][0], outputs[i][1]);
    safetensors_close(file);
}

static void modules_give_diffusers_tensors(void **state)
{
    (void)state;
    run_case("text-encoder", "text.safetensors", (const char *const[][2]){{"input_ids", "input_ids"}}, 1,
             (const char *const[][2]){{"last_hidden_state", "last_hidden_state"}}, 1);
    run_case("unet", "unet.safetensors",
             (const char *const[][2]){{"case1.sample", "sample"},
                                      {"case1.timestep", "timestep"},
                                      {"case1.encoder_hidden_states", "encoder_hidden_states"}},
             3, (const char *const[][2]){{"noise_pred", "case1.noise_pred"}}, 1);
    run_case("vae-encoder", "vae.safetensors", (const char *const[][2]){{"case0.encoder.sample", "sample"}}, 1,
             (const char *const[][2]){{"latent_mean", "case0.encoder.latent_mean"},
                                      {"latent_logvar", "case0.encoder.latent_logvar"}},
             2);
    run_case("vae-decoder", "vae.safetensors", (const char *const[][2]){{"case0.decoder.latents", "latents"}}, 1,
             (const char *const[][2]){{"sample", "case0.decoder.sample"}}, 1);
}

static void loras_apply(void **state)
{
    (void)state;
    leco_model *plain = model;
    const leco_model_options options = {.precision = "float32"};
    assert_works(leco_model_open(SD1, &options, &model, &err), &err);
    assert_works(leco_model_add_lora(model, SD1 "/lora.safetensors", -0.7f, &err), &err);
    run_case("unet", "lora_cases.safetensors",
             (const char *const[][2]){
                 {"sample", "sample"}, {"timestep", "timestep"}, {"encoder_hidden_states", "encoder_hidden_states"}},
             3, (const char *const[][2]){{"noise_pred", "noise_pred.minus0.7"}}, 1);
    leco_model_close(model);
    model = plain;
}

static void a_prompt_stands_for_ids(void **state)
{
    (void)state;
    assert_works(leco_run(model, "text-encoder", NULL, "a red star", test_path("out.safetensors"), &err), &err);
    safetensors *out;
    assert_works(safetensors_open(test_path("out.safetensors"), &out, &err), &err);
    const safetensors_entry *e;
    assert_works(safetensors_require(out, "last_hidden_state", 3, (const int64_t[]){1, 77, 24}, &e, &err), &err);
    safetensors_close(out);
}

static void last_layers_can_be_left_out(void **state)
{
    (void)state;
    leco_model *plain = model, *none = NULL;
    leco_model_options options = {.precision = "float32"};
    static const char *const wanted[] = {"last_hidden_state", "last_hidden_state", "clip_skip.1", "clip_skip.2"};
    for (options.clip_skip = 0; options.clip_skip < 4; options.clip_skip++) {
        assert_works(leco_model_open(SD1, &options, &model, &err), &err);
        run_case("text-encoder", "text.safetensors", (const char *const[][2]){{"input_ids", "input_ids"}}, 1,
                 (const char *const[][2]){{"last_hidden_state", wanted[options.clip_skip]}}, 1);
        leco_model_close(model);
    }
    model = plain;
    options.clip_skip = 5;
    assert_fails(leco_model_open(SD1, &options, &none, &err), LECO_INVALID, &err, "clip_skip is 5", "has 4 layers");
    options.clip_skip = -1;
    assert_fails(leco_model_open(SD1, &options, &none, &err), LECO_INVALID, &err, "clip_skip is -1");
}

static leco_status run_with(const char *module, const safetensors_entry *entries, size_t count)
{
    assert_works(safetensors_write(test_path("in.safetensors"), entries, count, NULL, 0, &err), &err);
    return leco_run(model, module, test_path("in.safetensors"), NULL, test_path("out.safetensors"), &err);
}

static void wrong_tensors_are_named(void **state)
{
    (void)state;
    static const float zeros[4 * 6 * 6];
    static const int64_t ids[] = {1, 2, 99999};
    const safetensors_entry id_entry = {"input_ids", DTYPE_I64, 2, {1, 3}, 3, ids};
    assert_fails(run_with("text-encoder", &id_entry, 1), LECO_INVALID, &err, "input_ids", "99999");
    const safetensors_entry real_ids = {"input_ids", DTYPE_F32, 2, {1, 3}, 3, zeros};
    assert_fails(run_with("text-encoder", &real_ids, 1), LECO_INVALID, &err, "input_ids", "int64");
    const safetensors_entry three = {"latents", DTYPE_F32, 4, {1, 3, 6, 6}, 108, zeros};
    assert_fails(run_with("vae-decoder", &three, 1), LECO_FORMAT, &err, "latents");
    const safetensors_entry sample = {"sample", DTYPE_F32, 4, {1, 3, 6, 6}, 108, zeros};
    assert_fails(run_with("vae-encoder", &sample, 1), LECO_INVALID, &err, "6x6", "multiples of 4");
    const safetensors_entry latents = {"sample", DTYPE_F32, 4, {1, 4, 6, 6}, 144, zeros};
    assert_fails(run_with("unet", &latents, 1), LECO_FORMAT, &err, "timestep");
    assert_fails(leco_run(model, "net", NULL, "x", "out", &err), LECO_INVALID, &err, "\"net\"");
    assert_fails(leco_run(model, "unet", NULL, "x", "out", &err), LECO_INVALID, &err, "prompt");
    assert_fails(leco_run(model, "unet", NULL, NULL, "out", &err), LECO_INVALID, &err, "inputs");
    assert_fails(leco_run(model, "unet", "/nowhere", NULL, "out", &err), LECO_IO, &err, "/nowhere");
}

/* Both forms of a description; the JSON must parse. Returns it. */
static json_t *inspect(const char *path, const char *expected_text)
{
    char *text;
    assert_works(leco_inspect(path, false, &text, &err), &err);
    if (!strstr(text, expected_text)) fail_msg("\"%s\" is not in:\n%s", expected_text, text);
    leco_free(text);
    assert_works(leco_inspect(path, true, &text, &err), &err);
    json_t *o = json_loads(text, 0, NULL);
    assert_non_null(o);
    leco_free(text);
    return o;
}

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static void everything_is_described(void **state)
{
    (void)state;
    json_t *o = inspect(SD1, "quick_gelu");
    assert_string_equal(text_of(o, "kind"), "model");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "unet"), "parameters")), 142692);
    json_decref(o);
    o = inspect(SD1 "/lora.safetensors", "rank 4");
    assert_string_equal(text_of(o, "kind"), "lora");
    json_decref(o);
    o = inspect(SD1 "/unet.safetensors", "case0.sample");
    assert_string_equal(text_of(o, "kind"), "tensors");
    json_decref(o);
    uint8_t rgb[12] = {0};
    const leco_image picture = {2, 2, rgb};
    assert_works(leco_image_write(test_path("x.png"), &picture, "a star\nSteps: 3", &err), &err);
    o = inspect(test_path("x.png"), "a star");
    assert_string_equal(text_of(o, "parameters"), "a star\nSteps: 3");
    json_decref(o);
    char *text;
    assert_fails(leco_inspect("/nowhere", false, &text, &err), LECO_IO, &err, "/nowhere");
    assert_fails(leco_inspect(SD1 "/model_index.json", false, &text, &err), LECO_FORMAT, &err, "model_index.json");
}

static void a_bench_reports_all_it_promises(void **state)
{
    (void)state;
    const leco_bench_options o = {.model = SD1, .precision = "float32", .json = true};
    char *text;
    assert_works(leco_bench(&o, &text, &err), &err);
    json_t *report = json_loads(text, 0, NULL);
    leco_free(text);
    const json_t *run = json_array_get(json_object_get(report, "runs"), 0);
    const json_t *step = json_object_get(run, "training_step");
    assert_true(json_number_value(json_object_get(run, "matrix_gflops_before")) > 0);
    assert_true(json_number_value(json_object_get(step, "gflops")) > 0);
    assert_true(json_array_size(json_object_get(step, "operators")) > 10);
    assert_int_equal(json_integer_value(json_object_get(run, "planned_bytes")),
                     json_integer_value(json_object_get(run, "allocated_bytes")));
    json_decref(report);
    const leco_bench_options nothing = {0}, unknown = {.preset = "sd9"};
    assert_fails(leco_bench(&nothing, &text, &err), LECO_INVALID, &err, "preset");
    assert_fails(leco_bench(&unknown, &text, &err), LECO_INVALID, &err, "sd9");
}

static int open_model(void **state)
{
    (void)state;
    const leco_model_options options = {.precision = "float32"};
    return leco_model_open(SD1, &options, &model, &err) == LECO_OK ? 0 : -1;
}

static int close_model(void **state)
{
    (void)state;
    leco_model_close(model);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modules_give_diffusers_tensors),  cmocka_unit_test(loras_apply),
        cmocka_unit_test(a_prompt_stands_for_ids),         cmocka_unit_test(last_layers_can_be_left_out),
        cmocka_unit_test(wrong_tensors_are_named),         cmocka_unit_test(everything_is_described),
        cmocka_unit_test(a_bench_reports_all_it_promises),
    };
    return cmocka_run_group_tests_name("unit/api_run", tests, open_model, close_model);
}
