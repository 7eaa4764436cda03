/* Optimizer arguments, names, sizes and gaps; the steps and learning rates are in parity/optimizer. */
#include "test_optimizer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
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

/* As sd-scripts' lists are joined, and as people write them. */
static void arguments_may_be_separated_by_commas(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "betas=(0.5,0.75),eps=1e-6,weight_decay=0.5", "betas=0.5,0.75,eps=1e-6,weight_decay=0.5",
        " betas=( 0.5, 0.75 ) , eps= 1e-6 ,\tweight_decay=0.5, ", "weight_decay=0.5 eps=1e-6 betas=[0.5, 0.75]",
        "eps=1e-6,weight_decay=0.5 betas=0.5, 0.75,"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        optimizer_options o = optimizer_defaults(OPTIMIZER_ADAMW);
        assert_works(optimizer_parse(&o, forms[i], &err), &err);
        assert_true(argument_of(&o, "betas")[0] == 0.5 && argument_of(&o, "betas")[1] == 0.75);
        assert_true(*argument_of(&o, "eps") == 1e-6 && *argument_of(&o, "weight_decay") == 0.5);
    }
}

static void some_arguments_may_be_none_or_without_end(void **state)
{
    (void)state;
    optimizer_options o = optimizer_defaults(OPTIMIZER_PRODIGY);
    char *text = optimizer_text(&o);
    assert_string_equal(text, "prodigy(betas=(0.9,0.999),beta3=None,eps=1e-08,weight_decay=0,decouple=True,"
                              "use_bias_correction=False,safeguard_warmup=False,d0=1e-06,d_coef=1,growth_rate=inf,"
                              "slice_p=1)");
    mem_free(text);
    assert_works(optimizer_parse(&o, "beta3=0.5 growth_rate=1.02", &err), &err);
    assert_true(*argument_of(&o, "beta3") == 0.5 && *argument_of(&o, "growth_rate") == 1.02);
    assert_works(optimizer_parse(&o, "beta3=None growth_rate=inf", &err), &err);
    assert_true(*argument_of(&o, "beta3") == OPTIMIZER_NONE && isinf(*argument_of(&o, "growth_rate")));
    assert_fails(optimizer_parse(&o, "growth_rate=nan", &err), LECO_INVALID, &err, "growth_rate");
    assert_fails(optimizer_parse(&o, "beta3=none_at_all", &err), LECO_INVALID, &err, "beta3", "none_at_all");
    assert_fails(optimizer_parse(&o, "beta3=-1", &err), LECO_INVALID, &err, "beta3", "-1");
    assert_fails(optimizer_parse(&o, "slice_p=1.5", &err), LECO_INVALID, &err, "slice_p", "whole");
    assert_fails(optimizer_parse(&o, "decopule=True", &err), LECO_INVALID, &err, "decopule", "\"decouple\"");
    o = optimizer_defaults(OPTIMIZER_ADAFACTOR);
    assert_fails(optimizer_parse(&o, "relative_step=False,warmup_init=True", &err), LECO_INVALID, &err, "warmup_init");
    o = optimizer_defaults(OPTIMIZER_ADAMW_SCHEDULE_FREE);
    assert_fails(optimizer_parse(&o, "betas=(0,0.9)", &err), LECO_INVALID, &err, "betas");
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
                 {OPTIMIZER_LION, "", 24},
                 {OPTIMIZER_PRODIGY, "", 4 * 24 + 4 * 8},
                 {OPTIMIZER_PRODIGY, "betas=(0,0.9) slice_p=4", 24 + 2 * 2 * 4 + 4 * 8},
                 {OPTIMIZER_DADAPTADAM, "", 3 * 24 + 3 * 8},
                 {OPTIMIZER_DADAPTLION, "", 2 * 24 + 3 * 8},
                 {OPTIMIZER_ADAFACTOR, "", (2 + 3) * 4},
                 {OPTIMIZER_ADAFACTOR, "beta1=0.9", (2 + 3) * 4 + 24},
                 {OPTIMIZER_ADAMW_SCHEDULE_FREE, "", 2 * 24 + 2 * 8}};
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
        float values[6] = {0.25f, 0, 0, 0, 0.5f, 0.75f};
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
        assert_true(values[0] != 0.25f && values[4] != 0.5f && values[5] != 0.75f);
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
        snprintf(word, sizeof word, "train={lr_warmup_steps: 5, lr_scheduler: %s}", lr_schedule_rows[i].name);
        assert_works(train_config_read(test_path("names.yaml"), &override, 1, &c, &err), &err);
        assert_int_equal(c.rates.schedule, i);
        train_config_free(&c);
    }
}

/* p1atdev's and sd-scripts' names, in any case. */
static void other_programs_names_are_understood(void **state)
{
    (void)state;
    const char *config = "pretrained_model: {name_or_path: x}\nprompts: [{target: a}]\n";
    static const struct {
        const char *name;
        optimizer_kind kind;
        bool narrow;
    } names[] = {
        {"AdamW", OPTIMIZER_ADAMW, false},
        {"AdamW8bit", OPTIMIZER_ADAMW, true},
        {"PagedAdamW8bit", OPTIMIZER_ADAMW, true},
        {"PagedAdamW", OPTIMIZER_ADAMW, false},
        {"adam8bit", OPTIMIZER_ADAM, true},
        {"lion8bit", OPTIMIZER_LION, true},
        {"SGD8bit", OPTIMIZER_SGD, true},
        {"SGDNesterov8bit", OPTIMIZER_SGD, true},
        {"DAdaptAdam", OPTIMIZER_DADAPTADAM, false},
        {"DAdaptLion", OPTIMIZER_DADAPTLION, false},
        {"Prodigy", OPTIMIZER_PRODIGY, false},
        {"AdaFactor", OPTIMIZER_ADAFACTOR, false},
        {"AdamWScheduleFree", OPTIMIZER_ADAMW_SCHEDULE_FREE, false},
    };
    test_write(test_path("names.yaml"), config, strlen(config));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char word[64];
        const char *override = word;
        train_config c;
        snprintf(word, sizeof word, "train.optimizer=%s", names[i].name);
        assert_works(train_config_read(test_path("names.yaml"), &override, 1, &c, &err), &err);
        assert_int_equal(c.optimizer.kind, names[i].kind);
        assert_true(!c.optimizer.narrow == !names[i].narrow);
        train_config_free(&c);
    }
    for (const optimizer_alias *a = optimizer_aliases; a->name; a++) {
        const optimizer_options o = optimizer_by_alias(a);
        assert_int_equal(o.kind, a->kind);
        assert_true(!a->args || *argument_of(&o, "momentum") == 0.9);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments_are_read_as_p1atdev_writes_them),
        cmocka_unit_test(arguments_may_be_separated_by_commas),
        cmocka_unit_test(some_arguments_may_be_none_or_without_end),
        cmocka_unit_test(wrong_arguments_are_named),
        cmocka_unit_test(states_are_as_large_as_they_say),
        cmocka_unit_test(what_lies_between_params_stays_0),
        cmocka_unit_test(rows_are_known_by_name_in_configs),
        cmocka_unit_test(other_programs_names_are_understood),
    };
    return cmocka_run_group_tests_name("unit/optimizer", tests, NULL, NULL);
}
