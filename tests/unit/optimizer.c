/* Optimizer arguments, sizes and the learning-rate schedule; the steps themselves are in parity/optimizer. */
#include "test_support.h"

#include "train/optimizer.h"

#include <math.h>

static leco_error err;

static void arguments_are_read_as_p_writes_them(void **state)
{
    (void)state;
    optimizer_options o = optimizer_defaults(OPTIMIZER_ADAMW);
    assert_works(optimizer_parse(&o, "  betas=(0.5,0.75)  eps=1e-6 weight_decay=0 ", &err), &err);
    assert_true(o.beta1 == 0.5 && o.beta2 == 0.75 && o.eps == 1e-6 && o.weight_decay == 0);
    assert_works(optimizer_parse(&o, "betas=0.25,0.5", &err), &err);
    assert_true(o.beta1 == 0.25 && o.beta2 == 0.5);
    assert_works(optimizer_parse(&o, "", &err), &err);

    o = optimizer_defaults(OPTIMIZER_SGD);
    assert_works(optimizer_parse(&o, "momentum=0.9 nesterov=True", &err), &err);
    assert_true(o.momentum == 0.9 && o.nesterov);
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
    float value[6] = {0}, grad[6] = {0};
    param p = {.name = "p", .type = DTYPE_F32, .shape = SHAPE(2, 3), .value = value, .grad = grad};
    const struct {
        optimizer_kind kind;
        const char *args;
        size_t bytes;
    } cases[] = {{OPTIMIZER_ADAMW, "", 48}, {OPTIMIZER_SGD, "", 0}, {OPTIMIZER_SGD, "momentum=0.5", 24}};
    for (size_t i = 0; i < 3; i++) {
        optimizer_options o = optimizer_defaults(cases[i].kind);
        assert_works(optimizer_parse(&o, cases[i].args, &err), &err);
        optimizer *made;
        assert_works(optimizer_create(&o, &p, 1, &made, &err), &err);
        assert_int_equal(optimizer_bytes(made), cases[i].bytes);
        optimizer_destroy(made);
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
        cmocka_unit_test(arguments_are_read_as_p_writes_them),
        cmocka_unit_test(wrong_arguments_are_named),
        cmocka_unit_test(states_are_as_large_as_they_say),
        cmocka_unit_test(a_constant_rate_stays),
        cmocka_unit_test(a_cosine_rate_is_torch_s),
    };
    return cmocka_run_group_tests_name("unit/optimizer", tests, NULL, NULL);
}
