/* Forms of adapters that leco turns into others (tools/fixtures_lycoris.py): Tucker's of convolutions, whole
 * differences of weights, matrices of eight bits. What the U-Net makes of them is what it makes of LyCORIS's changes.
 */
#include "parity_support.h"

#include <stdio.h>
#include <string.h>

#include "leco/leco.h"

#define LYCORIS FIXTURES "lycoris/"

static leco_error err;

static double off_by(const safetensors *wanted, const char *lora, float multiplier, const char *key)
{
    const leco_model_options options = {.device = "cpu", .precision = "float32"};
    const float timestep = 301;
    leco_model *m;
    safetensors *out;
    safetensors_entry in[] = {
        *safetensors_find(wanted, "sample"),
        *safetensors_find(wanted, "context"),
        {.name = "timestep", .type = DTYPE_F32, .rank = 1, .shape = {1}, .count = 1, .data = &timestep}};
    in[1].name = "encoder_hidden_states";
    assert_works(leco_model_open(FIXTURES "sd1-like", &options, &m, &err), &err);
    if (lora) assert_works(leco_model_add_lora(m, lora, multiplier, &err), &err);
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
    static const char *const names[] = {"tucker", "full", "small"};
    safetensors *wanted;
    assert_works(safetensors_open(LYCORIS "out.safetensors", &wanted, &err), &err);
    assert_true(off_by(wanted, NULL, 1, "noise_pred") < 1e-5);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512], key[64];
        snprintf(path, sizeof path, LYCORIS "%s.safetensors", names[i]);
        snprintf(key, sizeof key, "noise_pred.%s", names[i]);
        const double error = off_by(wanted, path, 1, key), without = off_by(wanted, path, 0, "noise_pred");
        printf("    %s within %.1e\n", names[i], error);
        assert_true(error < 1e-4 && without < 1e-5);
        assert_true(off_by(wanted, path, 1, "noise_pred") > 0.01); /* it does something */

        /* Joined with nothing, and put into the model, it is the same. */
        const leco_lora one = {path, 1};
        if (i == 1) {
            assert_works(leco_merge(&one, 1, test_path("merged.safetensors"), NULL, NULL, &err), &err);
            assert_true(off_by(wanted, test_path("merged.safetensors"), 1, key) < 1e-3); /* in float16 */
        }
    }
    safetensors_close(wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(they_do_as_in_lycoris)};
    return cmocka_run_group_tests_name("parity/lycoris", tests, NULL, NULL);
}
