/* DoRAs on LoHas and LoKrs (tools/fixtures_lycoris_dora.py): what the model makes of them is what it makes of LyCORIS's
 * modules, beside it and put into it. */
#include "parity_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "leco/leco.h"

#define DORA FIXTURES "lycoris-dora/"

static leco_error err;

/* By how much the U-Net is off what `key` has; with a LoRA, or (NULL) without. */
static double off_by(const char *model, const char *lora, const safetensors *asked, const safetensors *wanted,
                     const char *key)
{
    const leco_model_options options = {.device = "cpu", .precision = "float32"};
    const float timestep = 301;
    leco_model *m;
    safetensors *out;
    safetensors_entry in[] = {
        *safetensors_find(asked, "sample"),
        *safetensors_find(asked, "context"),
        {.name = "timestep", .type = DTYPE_F32, .rank = 1, .shape = {1}, .count = 1, .data = &timestep}};
    in[1].name = "encoder_hidden_states";
    assert_works(leco_model_open(model, &options, &m, &err), &err);
    if (lora) assert_works(leco_model_add_lora(m, lora, 1, &err), &err);
    assert_works(safetensors_write(test_path("in.safetensors"), in, 3, NULL, 0, &err), &err);
    assert_works(leco_run(m, "unet", test_path("in.safetensors"), NULL, test_path("out.safetensors"), &err), &err);
    assert_works(safetensors_open(test_path("out.safetensors"), &out, &err), &err);
    values got = fixture_read(out, "noise_pred"), want = fixture_read(wanted, "%s", key);
    const double error = worst_error(got.at, &want);
    values_free(&got);
    values_free(&want);
    safetensors_close(out);
    leco_model_close(m);
    return error;
}

static void they_do_as_in_lycoris(void **state)
{
    (void)state;
    static const char model[] = FIXTURES "sd1-like", *const names[] = {"loha", "lokr"};
    safetensors *asked, *wanted;
    assert_works(safetensors_open(FIXTURES "lycoris/out.safetensors", &asked, &err), &err);
    assert_works(safetensors_open(DORA "out.safetensors", &wanted, &err), &err);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512], key[64], into[600];
        snprintf(path, sizeof path, DORA "%s.safetensors", names[i]);
        snprintf(key, sizeof key, "noise_pred.%s", names[i]);
        snprintf(into, sizeof into, "%s", test_path(names[i]));
        const leco_lora one = {path, 1};
        assert_works(leco_merge_into(model, &one, 1, into, NULL, NULL, &err), &err);
        const double error = off_by(model, path, asked, wanted, key), merged = off_by(into, NULL, asked, wanted, key);
        printf("    %s within %.1e, merged %.1e\n", names[i], error, merged);
        assert_true(error < 1e-4 && merged < 1e-4);
        assert_true(off_by(model, path, asked, asked, "noise_pred") > 0.01); /* it does something */
    }
    safetensors_close(asked);
    safetensors_close(wanted);
}

/* ---- what doesn't go together ---- */

#define LAYER "lora_unet_mid_block_attentions_0_proj_in"

static const float ones[4096];

static void refuse(const safetensors_entry *entries, size_t count, const char *says)
{
    leco_model *m;
    const char *path = test_path("odd.safetensors");
    assert_works(safetensors_write(path, entries, count, NULL, 0, &err), &err);
    assert_works(leco_model_open(FIXTURES "sd1-like", NULL, &m, &err), &err);
    assert_fails(leco_model_add_lora(m, path, 1, &err), LECO_FORMAT, &err, LAYER, says);
    leco_model_close(m);
}

static safetensors_entry matrix(const char *name, int64_t rows, int64_t columns)
{
    return (safetensors_entry){.name = name,
                               .type = DTYPE_F32,
                               .rank = 2,
                               .shape = {rows, columns},
                               .count = (size_t)(rows * columns),
                               .data = ones};
}

static void odd_ones_are_refused(void **state)
{
    (void)state;
    const safetensors_entry scale = matrix(LAYER ".dora_scale", 24, 1);
    refuse((safetensors_entry[]){scale, matrix(LAYER ".hada_w1_a", 24, 2)}, 2, ".hada_w1_b\" is missing");
    refuse((safetensors_entry[]){scale, matrix(LAYER ".lokr_w1", 4, 4)}, 2, ".lokr_w2_a\" is missing");
    refuse((safetensors_entry[]){scale, matrix(LAYER ".lokr_w1_a", 4, 4), matrix(LAYER ".lokr_w2", 6, 6)}, 3,
           ".lokr_w1_b\" is missing");
    refuse((safetensors_entry[]){scale, matrix(LAYER ".hada_w1_a", 24, 2), matrix(LAYER ".hada_w1_b", 3, 24),
                                 matrix(LAYER ".hada_w2_a", 24, 2), matrix(LAYER ".hada_w2_b", 2, 24)},
           5, "whose sizes go together");
    refuse((safetensors_entry[]){scale, matrix(LAYER ".lokr_w1_a", 4, 2), matrix(LAYER ".lokr_w1_b", 3, 4),
                                 matrix(LAYER ".lokr_w2", 6, 6)},
           4, "as many columns as the other has rows");
    const float infinite = INFINITY;
    const safetensors_entry alpha = {
        .name = LAYER ".alpha", .type = DTYPE_F32, .rank = 1, .shape = {1}, .count = 1, .data = &infinite};
    refuse((safetensors_entry[]){scale, alpha, matrix(LAYER ".hada_w1_a", 24, 2), matrix(LAYER ".hada_w1_b", 2, 24),
                                 matrix(LAYER ".hada_w2_a", 24, 2), matrix(LAYER ".hada_w2_b", 2, 24)},
           6, "a finite number");
    refuse((safetensors_entry[]){scale, matrix(LAYER ".hada_w1_a", 24, 0), matrix(LAYER ".hada_w1_b", 0, 24),
                                 matrix(LAYER ".hada_w2_a", 24, 0), matrix(LAYER ".hada_w2_b", 0, 24)},
           5, "expected a matrix");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(they_do_as_in_lycoris), cmocka_unit_test(odd_ones_are_refused)};
    return cmocka_run_group_tests_name("parity/lycoris_dora", tests, NULL, NULL);
}
