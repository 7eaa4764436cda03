/* Adapters that leco reads and doesn't write (tools/fixtures_lycoris.py): Tucker's form of convolutions, whole
 * differences of weights, of biases and norms, matrices of eight bits, OFT, GLoRA, (IA)^3. What the model makes of them
 * is what it makes of LyCORIS's modules. */
#include "parity_support.h"

#include <stdio.h>
#include <string.h>

#include "leco/leco.h"

#define LYCORIS FIXTURES "lycoris/"

static leco_error err;

/* By how much the U-Net, or the text encoder, asked with what `inputs` has, is off what `wanted` has under `key`; with
 * a LoRA, or (NULL) without. */
static double off(const char *model, const char *part, const safetensors *inputs, const safetensors *wanted,
                  const char *lora, float multiplier, const char *key)
{
    const leco_model_options options = {.device = "cpu", .precision = "float32"};
    const bool text = strcmp(part, "unet") != 0;
    const float timestep = 301;
    leco_model *m;
    safetensors *out;
    safetensors_entry in[] = {
        *safetensors_find(inputs, text ? "input_ids" : "sample"),
        *safetensors_find(inputs, "context"),
        {.name = "timestep", .type = DTYPE_F32, .rank = 1, .shape = {1}, .count = 1, .data = &timestep}};
    in[1].name = "encoder_hidden_states";
    assert_works(leco_model_open(model, &options, &m, &err), &err);
    if (lora) assert_works(leco_model_add_lora(m, lora, multiplier, &err), &err);
    assert_works(safetensors_write(test_path("in.safetensors"), in, text ? 1 : 3, NULL, 0, &err), &err);
    assert_works(leco_run(m, part, test_path("in.safetensors"), NULL, test_path("out.safetensors"), &err), &err);
    assert_works(safetensors_open(test_path("out.safetensors"), &out, &err), &err);
    values got = fixture_read(out, text ? "last_hidden_state" : "noise_pred"), want = fixture_read(wanted, "%s", key);
    const double error = worst_error(got.at, &want);
    values_free(&got);
    values_free(&want);
    safetensors_close(out);
    leco_model_close(m);
    return error;
}

static double part_off_by(const char *model, const char *part, const safetensors *wanted, const char *lora,
                          float multiplier, const char *key)
{
    return off(model, part, wanted, wanted, lora, multiplier, key);
}

static double off_by(const safetensors *wanted, const char *lora, float multiplier, const char *key)
{
    return part_off_by(FIXTURES "sd1-like", "unet", wanted, lora, multiplier, key);
}

/* Put into the model, it is the same; and joined with others, where a LoRA has room for it. */
static void check_merges(const safetensors *wanted, const leco_lora *one, const char *key, bool joins)
{
    if (joins) {
        assert_works(leco_merge(one, 1, test_path("merged.safetensors"), NULL, NULL, &err), &err);
        assert_true(off_by(wanted, test_path("merged.safetensors"), 1, key) < 1e-3); /* in float16 */
    }
    char into[600];
    snprintf(into, sizeof into, "%s", test_path(strchr(key, '.') + 1));
    assert_works(leco_merge_into(FIXTURES "sd1-like", one, 1, into, NULL, NULL, &err), &err);
    assert_true(part_off_by(into, "unet", wanted, NULL, 1, key) < 1e-5);
}

static void they_do_as_in_lycoris(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool half, joins;
    } files[] = {{"tucker", 0, 0},        {"full", 0, 1},         {"small", 0, 1},     {"biases", 0, 0}, {"oft", 1, 0},
                 {"rescaled", 0, 0},      {"glora", 1, 0},        {"glora_old", 0, 0}, {"ia3", 1, 0},    {"boft", 0, 0},
                 {"boft_rescaled", 0, 0}, {"glora_tucker", 0, 0}, {"oft_diag", 0, 0}};
    safetensors *wanted;
    assert_works(safetensors_open(LYCORIS "out.safetensors", &wanted, &err), &err);
    assert_true(off_by(wanted, NULL, 1, "noise_pred") < 1e-5);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[512], key[64], half[80];
        snprintf(path, sizeof path, LYCORIS "%s.safetensors", files[i].name);
        snprintf(key, sizeof key, "noise_pred.%s", files[i].name);
        snprintf(half, sizeof half, "%s.half", key);
        const double error = off_by(wanted, path, 1, key), without = off_by(wanted, path, 0, "noise_pred");
        printf("    %s within %.1e\n", files[i].name, error);
        assert_true(error < 1e-5 && without < 1e-5);
        assert_true(off_by(wanted, path, 1, "noise_pred") > 0.01); /* it does something */
        if (files[i].half) assert_true(off_by(wanted, path, 0.5f, half) < 1e-4);
        check_merges(wanted, &(leco_lora){path, 1}, key, files[i].joins);
    }
    safetensors_close(wanted);
}

/* OFT and BOFT of PEFT, of each of its forms (tools/fixtures_peft_oft.py). */
static void they_do_as_in_peft(void **state)
{
    (void)state;
    static const char *const names[] = {"oft",          "exact",     "terms",      "terms3",    "coft",
                                        "shared",       "diffusers", "boft",       "butterfly", "old13",
                                        "old13_shared", "old14",     "old14_coft", "old17"};
    static const char model[] = FIXTURES "sd1-like";
    safetensors *inputs;
    assert_works(safetensors_open(LYCORIS "out.safetensors", &inputs, &err), &err);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512], into[600];
        safetensors *wanted;
        snprintf(path, sizeof path, FIXTURES "peft-oft/%s/out.safetensors", names[i]);
        assert_works(safetensors_open(path, &wanted, &err), &err);
        snprintf(path, sizeof path, FIXTURES "peft-oft/%s/adapter_model.safetensors", names[i]);
        const double error = off(model, "unet", inputs, wanted, path, 1, "noise_pred");
        const leco_lora one = {path, 1};
        snprintf(into, sizeof into, "%s-of-peft", test_path(names[i]));
        assert_works(leco_merge_into(model, &one, 1, into, NULL, NULL, &err), &err);
        const double merged = off(into, "unet", inputs, wanted, NULL, 1, "noise_pred");
        printf("    PEFT's %s within %.1e, merged %.1e\n", names[i], error, merged);
        assert_true(error < 1e-5 && merged < 1e-5);
        assert_true(off(model, "unet", inputs, inputs, path, 0, "noise_pred") < 1e-5);
        assert_true(off(model, "unet", inputs, inputs, path, 1, "noise_pred") > 0.01); /* it does something */
        safetensors_close(wanted);
    }
    safetensors_close(inputs);
}

/* A 3x3 convolution's weight is turned where it lies: merged it is PEFT's, beside the model nobody does it; and what
 * PEFT 0.16 and later make of one is no rotation. */
static void convolutions_of_peft(void **state)
{
    (void)state;
    static const char model[] = FIXTURES "sd1-like", conv[] = FIXTURES "peft-oft/conv/adapter_model.safetensors";
    const leco_lora boft = {conv, 1};
    safetensors *inputs, *wanted;
    leco_model *m;
    assert_works(safetensors_open(LYCORIS "out.safetensors", &inputs, &err), &err);
    assert_works(safetensors_open(FIXTURES "peft-oft/conv/out.safetensors", &wanted, &err), &err);
    assert_works(leco_merge_into(model, &boft, 1, test_path("conv"), NULL, NULL, &err), &err);
    assert_true(off(test_path("conv"), "unet", inputs, wanted, NULL, 1, "noise_pred") < 1e-5);
    assert_works(leco_model_open(model, &(leco_model_options){.device = "cpu"}, &m, &err), &err);
    assert_works(leco_model_add_lora(m, conv, 1, &err), &err);
    safetensors_entry in[] = {*safetensors_find(inputs, "sample"),
                              *safetensors_find(inputs, "context"),
                              {.name = "timestep", .type = DTYPE_F32, .count = 1, .data = &(float){301}}};
    in[1].name = "encoder_hidden_states";
    assert_works(safetensors_write(test_path("in.safetensors"), in, 3, NULL, 0, &err), &err);
    assert_fails(leco_run(m, "unet", test_path("in.safetensors"), NULL, test_path("no.safetensors"), &err),
                 LECO_UNSUPPORTED, &err, "put it into the model");
    leco_model_close(m);
    assert_works(leco_model_open(model, &(leco_model_options){.device = "cpu"}, &m, &err), &err);
    assert_fails(leco_model_add_lora(m, FIXTURES "peft-oft/conv16/adapter_model.safetensors", 1, &err),
                 LECO_UNSUPPORTED, &err, "PEFT makes one thing beside the model and another put into it");
    leco_model_close(m);
    safetensors_close(inputs);
    safetensors_close(wanted);
}

static void norms_and_biases_of_texts(void **state)
{
    (void)state;
    static const char model[] = FIXTURES "sd1-like", lora[] = LYCORIS "text.safetensors", key[] = "last_hidden_state";
    safetensors *wanted;
    assert_works(safetensors_open(LYCORIS "out.safetensors", &wanted, &err), &err);
    assert_true(part_off_by(model, "text-encoder", wanted, NULL, 1, key) < 1e-5);
    assert_true(part_off_by(model, "text-encoder", wanted, lora, 1, "last_hidden_state.text") < 1e-4);
    assert_true(part_off_by(model, "text-encoder", wanted, lora, 1, key) > 0.01);
    safetensors_close(wanted);
}

/* A LoRA has no place for them; nor has a model for the bias of a layer that has none. */
static void what_they_cannot_become(void **state)
{
    (void)state;
    leco_merge_options options = {.model = FIXTURES "sd1-like", .rank = 2};
    const leco_lora norms = {LYCORIS "biases.safetensors", 1}, weights = {LYCORIS "glora.safetensors", 1};
    leco_merge_report report;
    assert_works(leco_merge_into(options.model, &norms, 1, test_path("counted"), NULL, &report, &err), &err);
    assert_int_equal(report.layers_unet, 8); /* each with its bias */
    leco_merge_report_free(&report);
    assert_fails(leco_merge(&norms, 1, test_path("no.safetensors"), &options, NULL, &err), LECO_UNSUPPORTED, &err,
                 "biases.safetensors: changes down_blocks.0.resnets.0.conv1.bias, for which a LoRA has no place");
    assert_fails(leco_merge(&weights, 1, test_path("no.safetensors"), &options, NULL, &err), LECO_UNSUPPORTED, &err,
                 "glora.safetensors: holds a glora, whose change depends on the model's weights");
    const float shift[24] = {1};
    const safetensors_entry bias = {.name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.diff_b",
                                    .type = DTYPE_F32,
                                    .rank = 1,
                                    .shape = {24},
                                    .count = 24,
                                    .data = shift};
    const leco_lora alone = {test_path("bias.safetensors"), 1};
    assert_works(safetensors_write(alone.path, &bias, 1, NULL, 0, &err), &err);
    assert_fails(leco_merge_into(FIXTURES "sd1-like", &alone, 1, test_path("no"), NULL, NULL, &err), LECO_INVALID, &err,
                 "attn1.to_q.bias, which this model doesn't have");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(they_do_as_in_lycoris), cmocka_unit_test(they_do_as_in_peft),
                                       cmocka_unit_test(convolutions_of_peft),
                                       cmocka_unit_test(norms_and_biases_of_texts),
                                       cmocka_unit_test(what_they_cannot_become)};
    return cmocka_run_group_tests_name("parity/lycoris", tests, NULL, NULL);
}
