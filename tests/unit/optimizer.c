/* Optimizer arguments, sizes and gaps, and the learning-rate schedule; the steps are in parity/optimizer. */
#include "test_optimizer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "train/config.h"

static leco_error err;

static void arguments_are_read_as_p1atdev_writes_them(void **state)
{
    (void)state;
    optimizer_options o = optimizer_defaults(OPTIMIZER_ADAMW);
    assert_works(optimizer_parse(&o, "  betas=(0.5,0.75)  eps=1e-6 weight_decay=0 ", &err), &err);
    assert_true(argument_of(&o, "betas")[0] == 0.5 && argument_of(&o, "betas")[1] == 0.75);
    assert_true(*argument_of(&o, "eps") == 1e-6 && *argument_of(&o, "weight_decay") == 0);
    assert_works(optimizer_parse(&o, "betas=0.25,0.5", &err), &err);
    assert_true(argument_of(&o, "betas")[0] == 0.25 && argument_of(&o, "betas")[1] == 0.5);
    assert_works(optimizer_parse(&o, "", &err), &err);

    o = optimizer_defaults(OPTIMIZER_SGD);
    assert_works(optimizer_parse(&o, "momentum=0.9 nesterov=True", &err), &err);
    assert_true(*argument_of(&o, "momentum") == 0.9 && *argument_of(&o, "nesterov") == 1);
}

static void wrong_arguments_are_named(void **state)
{
    (void)state;
    optimizer_options o = optimizer_defaults(OPTIMIZER_ADAMW);
    assert_fails(optimizer_parse(&o, "weight_decoy=1", &err), LECO_INVALID, &err, "weight_decoy", "\"weight_decay\"");
    assert_fails(optimizer_parse(&o, "momentum=0.9", &err), LECO_INVALID, &err, "momentum");
    assert_fails(optimizer_parse(&o, "eps", &err), LECO_INVALID, &err, "key=value", "eps");
    assert_fails(optimizer_parse(&o, "eps=tiny", &err), LECO_INVALID, &err, "eps", "tiny");
    assert_fails(optimizer_parse(&o, "betas=(0.9,1.5)", &err), LECO_INVALID, &err, "betas", "1.5");
    assert_fails(optimizer_parse(&o, "betas=0.9", &err), LECO_INVALID, &err, "betas");
    o = optimizer_defaults(OPTIMIZER_SGD);
    assert_fails(optimizer_parse(&o, "nesterov=True", &err), LECO_INVALID, &err, "momentum");
}

static void states_are_as_large_as_they_say(void **state)
{
    (void)state;
    float six[6] = {0};
    const param p = {.name = "p", .type = DTYPE_F32, .shape = SHAPE(2, 3), .value = six};
    const flat_params on = {.values = six, .count = 6, .params = &p, .param_count = 1};
    const struct {
        optimizer_kind kind;
        const char *args;
        size_t bytes;
    } cases[] = {{OPTIMIZER_ADAMW, "", 48},
                 {OPTIMIZER_SGD, "", 0},
                 {OPTIMIZER_SGD, "momentum=0.5", 24},
                 {OPTIMIZER_LION, "", 24}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        optimizer_options o = optimizer_defaults(cases[i].kind);
        assert_works(optimizer_parse(&o, cases[i].args, &err), &err);
        optimizer *made;
        assert_works(optimizer_create(&o, &on, &made, &err), &err);
        assert_int_equal(optimizer_bytes(made), cases[i].bytes);
        optimizer_destroy(made);
    }
}

/* Between params lie elements that belong to none. */
static void what_lies_between_params_stays_0(void **state)
{
    (void)state;
    for (int kind = 0; kind < OPTIMIZER_COUNT; kind++) {
        float values[6] = {1, 0, 0, 0, 2, 3};
        const float grads[6] = {-1, 0, 0, 0, 1, 0.5f};
        const param params[] = {{.name = "a", .type = DTYPE_F32, .shape = SHAPE(1), .value = values},
                                {.name = "b", .type = DTYPE_F32, .shape = SHAPE(2), .value = values + 4}};
        const flat_params on = {.values = values, .count = 6, .params = params, .param_count = 2};
        optimizer_options o = optimizer_defaults((optimizer_kind)kind);
        assert_works(optimizer_parse(&o, "weight_decay=0.25", &err), &err);
        optimizer *made;
        assert_works(optimizer_create(&o, &on, &made, &err), &err);
        for (int i = 0; i < 3; i++) optimizer_step(made, grads, -2, 0.3);
        assert_true(values[1] == 0 && values[2] == 0 && values[3] == 0);
        assert_true(values[0] != 1 && values[4] != 2 && values[5] != 3);
        optimizer_destroy(made);
    }
}

/* Configs call rows by the names that they have. */
static void rows_are_known_by_name_in_configs(void **state)
{
    (void)state;
    const char *config = "pretrained_model: {name_or_path: x}\nprompts: [{target: a}]\n";
    test_write(test_path("names.yaml"), config, strlen(config));
    char word[64];
    const char *override = word;
    train_config c;
    for (int i = 0; i < OPTIMIZER_COUNT; i++) {
        snprintf(word, sizeof word, "train.optimizer=%s", optimizer_rows[i]->name);
        assert_works(train_config_read(test_path("names.yaml"), &override, 1, &c, &err), &err);
        assert_int_equal(c.optimizer.kind, i);
        train_config_free(&c);
    }
    for (int i = 0; i < LR_COUNT; i++) {
        snprintf(word, sizeof word, "train.lr_scheduler=%s", lr_schedule_rows[i].name);
        assert_works(train_config_read(test_path("names.yaml"), &override, 1, &c, &err), &err);
        assert_int_equal(c.lr_schedule, i);
        train_config_free(&c);
    }
}

static void a_constant_rate_stays(void **state)
{
    (void)state;
    assert_true(lr_at(LR_CONSTANT, 0.25, 0, 10) == 0.25);
    assert_true(lr_at(LR_CONSTANT, 0.25, 9, 10) == 0.25);
}

/* torch 2.8.0: CosineAnnealingLR(SGD(lr=0.25), T_max=10, eta_min=0.0025). */
static void a_cosine_rate_is_torch_s(void **state)
{
    (void)state;
    static const double wanted[] = {
        0.25,    0.24394324389152527, 0.22636585305389975, 0.19898842497119357,  0.16449085305389977,
        0.12625, 0.08800914694610026, 0.05351157502880646, 0.026134146946100265, 0.00855675610847475};
    for (int i = 0; i < 10; i++) assert_true(fabs(lr_at(LR_COSINE, 0.25, i, 10) - wanted[i]) < 1e-15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments_are_read_as_p1atdev_writes_them),
        cmocka_unit_test(wrong_arguments_are_named),
        cmocka_unit_test(states_are_as_large_as_they_say),
        cmocka_unit_test(what_lies_between_params_stays_0),
        cmocka_unit_test(rows_are_known_by_name_in_configs),
        cmocka_unit_test(a_constant_rate_stays),
        cmocka_unit_test(a_cosine_rate_is_torch_s),
    };
    return cmocka_run_group_tests_name("unit/optimizer", tests, NULL, NULL);
}
