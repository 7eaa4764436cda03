/* Optimizers against fixtures/optimizer: torch.optim, and what isn't in it, on given gradients. */
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/safetensors.h"
#include "train/optimizer.h"

enum { WIDTH = 7, FLAT = 9, STEPS = 5 };

/* The seven values are split over two params, with two elements between them that belong to none and stay 0. */
static const int place[WIDTH] = {0, 1, 2, 5, 6, 7, 8};

typedef struct optimizer_case {
    const char *name;
    optimizer_kind kind;
    const char *args;
    double lr;
} optimizer_case;

static const optimizer_case cases[] = {
    {"adamw", OPTIMIZER_ADAMW, "", 1e-2},
    {"adamw_options", OPTIMIZER_ADAMW, "betas=(0.8,0.95) eps=1e-6 weight_decay=0.1", 3e-3},
    {"adam", OPTIMIZER_ADAM, "", 1e-2},
    {"adam_decay", OPTIMIZER_ADAM, "weight_decay=0.05", 1e-2},
    {"sgd", OPTIMIZER_SGD, "", 0.1},
    {"sgd_momentum", OPTIMIZER_SGD, "momentum=0.9", 0.1},
    {"sgd_decay", OPTIMIZER_SGD, "momentum=0.9 weight_decay=0.05", 0.1},
    {"lion", OPTIMIZER_LION, "", 1e-2},
    {"lion_options", OPTIMIZER_LION, "betas=(0.8,0.95) weight_decay=0.1", 3e-3},
};

static safetensors *fixture;
static leco_error err;

static const float *values(const char *name, size_t count)
{
    const safetensors_entry *e = safetensors_find(fixture, name);
    if (!e) fail_msg("the fixture has no %s", name);
    assert_int_equal(e->count, count);
    return e->data;
}

static void run_case(const optimizer_case *c)
{
    char name[64];
    snprintf(name, sizeof name, "%s.parameters", c->name);
    const float *expected = values(name, STEPS * WIDTH), *given = values("gradients", STEPS * WIDTH);
    float value[FLAT] = {0}, grad[FLAT] = {0};
    const float *start = values("start", WIDTH);
    for (int i = 0; i < WIDTH; i++) value[place[i]] = start[i];
    param params[] = {{.name = "a", .type = DTYPE_F32, .shape = SHAPE(3), .value = value, .grad = grad},
                      {.name = "b", .type = DTYPE_F32, .shape = SHAPE(2, 2), .value = value + 5, .grad = grad + 5}};

    optimizer_options options = optimizer_defaults(c->kind);
    assert_works(optimizer_parse(&options, c->args, &err), &err);
    const flat_params on = {.values = value, .count = FLAT, .params = params, .param_count = 2};
    optimizer *o;
    assert_works(optimizer_create(&options, &on, &o, &err), &err);
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < WIDTH; i++) grad[place[i]] = 2 * given[step * WIDTH + i]; /* undone by the scale */
        optimizer_step(o, grad, 0.5f, c->lr);
        for (int i = 0; i < WIDTH; i++) {
            float wanted = expected[step * WIDTH + i];
            if (!(fabsf(value[place[i]] - wanted) <= 4e-7f * fmaxf(1, fabsf(wanted))))
                fail_msg("%s: after step %d, [%d] is %.9g, expected %.9g", c->name, step, i, (double)value[place[i]],
                         (double)wanted);
        }
        assert_true(value[3] == 0 && value[4] == 0);
    }
    assert_int_equal(optimizer_steps(o), STEPS);
    optimizer_destroy(o);
}

static void optimizers_are_torch_s(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) run_case(&cases[i]);
}

static int open_fixture(void **state)
{
    (void)state;
    const char *path = LECO_SOURCE_DIR "/tests/parity/fixtures/optimizer/optimizer.safetensors";
    return safetensors_open(path, &fixture, &err) == LECO_OK ? 0 : -1;
}

static int close_fixture(void **state)
{
    (void)state;
    safetensors_close(fixture);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(optimizers_are_torch_s)};
    return cmocka_run_group_tests_name("parity/optimizer", tests, open_fixture, close_fixture);
}
