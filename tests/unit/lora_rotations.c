/* Files of OFT and BOFT that don't hold together: what is refused, and told. What good ones do: parity/lycoris. */
#include "model_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/safetensors.h"
#include "model/kinds.h"
#include "model/rotation.h"
#include "test_lora.h"

#define LAYER "lora_unet_mid_block_attentions_0_proj_in" /* 24 channels in and out */
#define CONV "lora_unet_down_blocks_0_resnets_0_conv1"   /* 8 channels, 3x3 */

static unet_config unet_c;
static text_config text_c;
static float zeros[65536];

typedef struct tensor_row {
    const char *name, *dims; /* "2,12,12"; NULL: there is none */
} tensor_row;

static safetensors_entry entry_of(const tensor_row *row)
{
    safetensors_entry e = {.name = row->name, .type = DTYPE_F32, .count = 1, .data = zeros};
    for (const char *at = row->dims; *at; at += *at == ',') {
        char *end;
        e.shape[e.rank] = strtoll(at, &end, 10);
        e.count *= (size_t)e.shape[e.rank++];
        at = end;
    }
    assert_true(e.count <= sizeof zeros / sizeof *zeros);
    return e;
}

/* Loads a file of two tensors, beside this adapter_config.json or with these metadata. */
static leco_status load(const tensor_row rows[2], const char *config, const char *metadata, leco_error *err)
{
    const char *pair[1][2] = {{"lora_adapter_metadata", metadata}};
    safetensors_entry e[2];
    trainable *t;
    size_t count = 0;
    while (count < 2 && rows[count].name) e[count] = entry_of(&rows[count]), count++;
    remove(test_path("adapter_config.json"));
    if (config) test_write(test_path("adapter_config.json"), config, strlen(config));
    assert_works(safetensors_write(test_path("made.safetensors"), e, count, pair, metadata != NULL, err), err);
    const leco_status status = test_lora_load(test_path("made.safetensors"), &unet_c, &text_c, DTYPE_F32, &t, err);
    if (status == LECO_OK) trainable_destroy(t);
    return status;
}

static void what_does_not_fit_is_told(void **state)
{
    (void)state;
    static const struct {
        tensor_row rows[2];
        leco_status status;
        const char *says;
    } cases[] = {
        {{{LAYER ".oft_blocks", "1,2,12,12"}}, LECO_OK, NULL},
        {{{LAYER ".oft_blocks", "2,2,12,12"}}, LECO_OK, NULL},
        {{{LAYER ".oft_blocks", "3,2,12,12"}}, LECO_FORMAT, "so many stages of a BOFT"},
        {{{LAYER ".oft_blocks", "1,8,3,3"}}, LECO_FORMAT, "so many stages of a BOFT"},
        {{{LAYER ".oft_blocks", "33,1,2,2"}}, LECO_FORMAT, "so many stages of a BOFT"},
        {{{LAYER ".oft_blocks", "2,2,6,12"}}, LECO_FORMAT, "square blocks [count,side,side], or [stages,count,side"},
        {{{LAYER ".oft_blocks", "2,2,3,2,2"}}, LECO_FORMAT, "square blocks"},
        {{{LAYER ".oft_blocks", "2,0,2,2"}}, LECO_FORMAT, "square blocks"},
        {{{LAYER ".oft_blocks", "2,2,6,6"}}, LECO_INVALID, "has shape [12,12], expected [24,24]"},
        {{{LAYER ".oft_blocks", "1,4097,2,2"}}, LECO_FORMAT, "of a size that layers have"},
        {{{LAYER ".oft_blocks", "2,2,12,12"}, {LAYER ".rescale", "23"}}, LECO_FORMAT, "each of the layer's outputs"},
        {{{LAYER ".oft_diag", "2,12,12"}}, LECO_OK, NULL},
        {{{LAYER ".oft_diag", "2,6,6"}}, LECO_INVALID, "has shape [12,12], expected [24,24]"},
        {{{LAYER ".oft_diag", "1,2,12,12"}}, LECO_FORMAT, "square blocks [count,side,side]"},
        {{{LAYER ".oft_diag", "8193,1,1"}}, LECO_FORMAT, "of a size that layers have"},
        {{{LAYER ".oft_R.weight", "4,15"}}, LECO_UNSUPPORTED, "use_cayley_neumann in PEFT's adapter_config.json"},
        {{{LAYER ".oft_R.weight", "4,14"}}, LECO_FORMAT, "above the diagonals"},
        {{{LAYER ".oft_R.weight", "4,0"}}, LECO_FORMAT, "above the diagonals"},
        {{{LAYER ".oft_R.weight", "60"}}, LECO_FORMAT, "above the diagonals"},
        {{{LAYER ".oft_R.weight", "4097,1"}}, LECO_FORMAT, "of a size that layers have"},
        {{{LAYER ".oft_r", "2,12,12"}}, LECO_OK, NULL},
        {{{LAYER ".oft_r", "2,12,12"}, {LAYER ".oft_s", "24,1"}}, LECO_OK, NULL},
        {{{LAYER ".oft_r", "2,12,6"}}, LECO_FORMAT, "square blocks [count,side,side]"},
        {{{LAYER ".oft_r", "2,6,6"}}, LECO_INVALID, "has shape [12,12], expected [24,24]"},
        {{{LAYER ".oft_r", "8193,1,1"}}, LECO_FORMAT, "of a size that layers have"},
        {{{LAYER ".oft_r", "2,12,12"}, {LAYER ".oft_s", "23,1"}}, LECO_INVALID, "has shape [23], expected [24]"},
        {{{LAYER ".oft_r", "2,6,6"}, {LAYER ".oft_s", "24,1"}}, LECO_INVALID, "has shape [12,12], expected [24,24]"},
        {{{LAYER ".oft_r", "2,12,12"}, {LAYER ".lora_up.weight", "24,2"}}, LECO_FORMAT, "is missing"},
        {{{LAYER ".oft_s", "24,1"}}, LECO_UNSUPPORTED, "an OFT of another form, or whose blocks aren't beside it"},
        {{{LAYER ".boft_R", "2,2,12,12"}, {LAYER ".boft_s", "24,1"}}, LECO_OK, NULL},
        {{{LAYER ".boft_R", "1,8,3,3"}, {LAYER ".boft_s", "1,24"}}, LECO_OK, NULL},
        {{{LAYER ".boft_R", "2,8,3,3"}, {LAYER ".boft_s", "24,1"}}, LECO_FORMAT, "so many stages of a BOFT"},
        {{{LAYER ".boft_R", "3,2,12,12"}, {LAYER ".boft_s", "24,1"}}, LECO_FORMAT, "so many stages of a BOFT"},
        {{{LAYER ".boft_R", "2,12,12"}, {LAYER ".boft_s", "24,1"}}, LECO_FORMAT, "square blocks [stages,"},
        {{{LAYER ".boft_R", "1,2,12,12"}}, LECO_FORMAT, "a .boft_s beside it"},
        {{{LAYER ".boft_s", "24,1"}}, LECO_UNSUPPORTED, "a BOFT of another form, or whose blocks aren't beside it"},
        {{{CONV ".boft_R", "1,18,4,4"}, {CONV ".boft_s", "1,8"}}, LECO_OK, NULL},
        {{{CONV ".boft_R", "1,2,4,4"}, {CONV ".boft_s", "1,8"}}, LECO_INVALID, "has shape [8,8], expected [72,72]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        leco_error err = {0};
        const leco_status status = load(cases[i].rows, NULL, NULL, &err);
        if (cases[i].status == LECO_OK && status == LECO_OK) continue;
        if (status != cases[i].status || !strstr(err.message, cases[i].says ? cases[i].says : ""))
            fail_msg("%s [%s]: status %d, \"%s\"", cases[i].rows[0].name, cases[i].rows[0].dims, (int)status,
                     err.message);
    }
}

static void what_configs_say_is_checked(void **state)
{
    (void)state;
    static const struct {
        const char *dims, *config;
        leco_status status;
        const char *says;
    } cases[] = {
        {"4,15", "{\"use_cayley_neumann\": true}", LECO_OK, NULL},
        {"4,15", "{\"use_cayley_neumann\": false}", LECO_OK, NULL},
        {"4,15", "{\"unet.use_cayley_neumann\": false, \"use_cayley_neumann\": 3}", LECO_OK, NULL},
        {"4,15", "{}", LECO_UNSUPPORTED, "use_cayley_neumann"},
        {"4,15", "{\"use_cayley_neumann\": null}", LECO_UNSUPPORTED, "use_cayley_neumann"},
        {"4,15", "{\"use_cayley_neumann\": 1}", LECO_INVALID, "\"use_cayley_neumann\": expected"},
        {"4,15", "{\"use_cayley_neumann\": true, \"num_cayley_neumann_terms\": 65}", LECO_INVALID, "neumann_terms\""},
        {"4,15", "{\"use_cayley_neumann\": true, \"num_cayley_neumann_terms\": -1}", LECO_INVALID, "neumann_terms\""},
        {"4,15", "{\"use_cayley_neumann\": true, \"num_cayley_neumann_terms\": 0}", LECO_OK, NULL},
        {"4,15", "{\"use_cayley_neumann\": true, \"coft\": true, \"eps\": 0}", LECO_INVALID, "\"eps\": expected"},
        {"4,15", "{\"use_cayley_neumann\": true, \"coft\": true, \"eps\": NaN}", LECO_INVALID, "\"eps\": expected"},
        {"4,15", "{\"use_cayley_neumann\": true, \"coft\": 1}", LECO_INVALID, "\"coft\": expected"},
        {"1,15", "{\"use_cayley_neumann\": true}", LECO_INVALID, "has shape [6,6], expected [24,24]"},
        {"1,15", "{\"use_cayley_neumann\": true, \"block_share\": true, \"r\": 4}", LECO_OK, NULL},
        {"1,15", "{\"use_cayley_neumann\": true, \"block_share\": true, \"r\": 3}", LECO_INVALID, "has shape [18,18]"},
        {"1,15", "{\"use_cayley_neumann\": true, \"block_share\": true}", LECO_UNSUPPORTED, "block_share"},
        {"1,15", "{\"use_cayley_neumann\": true, \"block_share\": true, \"r\": 2147483647}", LECO_FORMAT, "of a size"},
        {"1,15", "{\"use_cayley_neumann\": true, \"block_share\": true, \"r\": 2147483648}", LECO_INVALID,
         "\"r\": exp"},
        {"4,15", "{\"use_cayley_neumann\": true, \"peft_version\": 18}", LECO_INVALID, "\"peft_version\": expected"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int inside = 0; inside < 2; inside++) {
            const tensor_row rows[2] = {{LAYER ".oft_R.weight", cases[i].dims}};
            leco_error err = {0};
            const leco_status status =
                load(rows, inside ? NULL : cases[i].config, inside ? cases[i].config : NULL, &err);
            if (cases[i].status == LECO_OK && status == LECO_OK) continue;
            if (status != cases[i].status || !strstr(err.message, cases[i].says ? cases[i].says : ""))
                fail_msg("%s: status %d, \"%s\"", cases[i].config, (int)status, err.message);
        }
    const tensor_row rows[2] = {{LAYER ".oft_R.weight", "4,15"}};
    leco_error err = {0};
    assert_fails(load(rows, "{\"use_cayley_neumann\": tru", NULL, &err), LECO_FORMAT, &err, "adapter_config.json:1:");
    assert_fails(load(rows, "[]", NULL, &err), LECO_FORMAT, &err, "adapter_config.json: expected an object");
    assert_fails(load(rows, NULL, "[]", &err), LECO_UNSUPPORTED, &err, "use_cayley_neumann");
}

/* Each allocation of the end fails, when the blocks are looked at (before, the model's layers are listed). */
static void memory_may_run_out(void **state)
{
    (void)state;
    static const tensor_row rows[][2] = {
        {{LAYER ".oft_blocks", "2,2,12,12"}, {LAYER ".rescale", "24"}},
        {{LAYER ".oft_diag", "2,12,12"}},
        {{LAYER ".oft_R.weight", "1,15"}},
        {{LAYER ".oft_r", "2,12,12"}, {LAYER ".oft_s", "24,1"}},
        {{LAYER ".boft_R", "2,2,12,12"}, {LAYER ".boft_s", "24,1"}},
    };
    static const char config[] = "{\"use_cayley_neumann\": true, \"block_share\": true, \"coft\": true, \"r\": 4}";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int inside = 0; inside < 2; inside++) {
            leco_error err = {0};
            const uint64_t before = mem_allocations();
            assert_works(load(rows[i], inside ? NULL : config, inside ? config : NULL, &err), &err);
            const uint64_t count = mem_allocations() - before;
            size_t failed = 0;
            for (uint64_t nth = count > 150 ? count - 150 : 1; nth <= count; nth++) {
                trainable *t;
                mem_fail_at(nth);
                leco_status status =
                    test_lora_load(test_path("made.safetensors"), &unet_c, &text_c, DTYPE_F32, &t, &err);
                mem_fail_at(0);
                if (status == LECO_OK) trainable_destroy(t); /* writing the file took some, too */
                assert_true(status == LECO_MEMORY || status == LECO_OK);
                failed += status == LECO_MEMORY;
            }
            assert_true(failed > 20);
        }
}

/* Whatever the blocks, the product of the stages turns: its rows are of length 1 and at right angles. */
static void they_are_rotations(void **state)
{
    (void)state;
    enum { COUNT = 4, SIDE = 6, STAGES = 3, WIDTH = COUNT * SIDE };
    static float q[STAGES * COUNT * SIDE * SIDE], out[WIDTH * WIDTH], back[WIDTH * WIDTH];
    rng r;
    rng_seed(&r, RNG_CPU, 5);
    rng_normal(&r, q, sizeof q / sizeof *q);
    for (int order = ROTATION_NEIGHBOURS; order <= ROTATION_HALVES; order++) {
        rotation turn = {.stages = order == ROTATION_NEIGHBOURS ? 1 : STAGES,
                         .count = COUNT,
                         .side = SIDE,
                         .q = q,
                         .times = 0.7,
                         .series = ROTATION_EXACT,
                         .order = (rotation_order)order};
        memset(out, 0, sizeof out);
        memset(back, 0, sizeof back);
        assert_true(rotation_fits(&turn) && rotation_make(&turn, out));
        turn.times = -turn.times;
        turn.last_first = true;
        assert_true(rotation_make(&turn, back));
        size_t moved = 0;
        for (size_t i = 0; i < WIDTH; i++)
            for (size_t j = 0; j < WIDTH; j++) {
                double sum = 0;
                for (size_t k = 0; k < WIDTH; k++) sum += (double)out[i * WIDTH + k] * (double)out[j * WIDTH + k];
                assert_true(fabs(sum - (i == j)) < 1e-5);
                assert_true(fabsf(out[i * WIDTH + j] - back[j * WIDTH + i]) < 1e-5f);
                moved += fabsf(out[i * WIDTH + j]) > 1e-6f;
            }
        assert_int_equal(moved, order == ROTATION_NEIGHBOURS ? COUNT * SIDE * SIDE : WIDTH * WIDTH);
    }
}

static int set_up(void **state)
{
    (void)state;
    leco_error err = {0};
    assert_works(unet_config_read(FIXTURE("sd1-like/unet"), &unet_c, &err), &err);
    assert_works(text_config_read(FIXTURE("sd1-like/text_encoder"), &text_c, &err), &err);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_does_not_fit_is_told),
                                       cmocka_unit_test(what_configs_say_is_checked),
                                       cmocka_unit_test(memory_may_run_out), cmocka_unit_test(they_are_rotations)};
    return cmocka_run_group_tests(tests, set_up, NULL);
}
