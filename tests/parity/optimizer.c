/* Optimizers against fixtures/optimizer: torch.optim, and what isn't in it by its own package, on given gradients; and
 * learning rates. */
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/safetensors.h"
#include "train/lr_schedule.h"
#include "train/optimizer.h"

enum { WIDTH = 27, FLAT = WIDTH + 6, STEPS = 24, PARAMS = 4 };

/* The values are split over four params, with two elements between them that belong to none and stay 0. */
static shape shape_at(int index)
{
    return index == 0 ? SHAPE(3) : index == 1 ? SHAPE(3, 2) : index == 2 ? SHAPE(2, 3, 1, 1) : SHAPE(2, 1, 2, 3);
}

typedef struct optimizer_case {
    const char *name;
    optimizer_kind kind;
    const char *args;
    double lr; /* where the fixture has none of its own */
} optimizer_case;

static const optimizer_case cases[] = {
    {"adamw", OPTIMIZER_ADAMW, "", 1e-2},
    {"adamw_options", OPTIMIZER_ADAMW, "betas=(0.8,0.95) eps=1e-6 weight_decay=0.1", 3e-3},
    {"adam", OPTIMIZER_ADAM, "", 1e-2},
    {"adam_decay", OPTIMIZER_ADAM, "weight_decay=0.05", 1e-2},
    {"sgd", OPTIMIZER_SGD, "", 0.01},
    {"sgd_momentum", OPTIMIZER_SGD, "momentum=0.9", 0.01},
    {"sgd_decay", OPTIMIZER_SGD, "momentum=0.9 weight_decay=0.05", 0.01},
    {"lion", OPTIMIZER_LION, "", 1e-2},
    {"lion_options", OPTIMIZER_LION, "betas=(0.8,0.95) weight_decay=0.1", 3e-3},
    {"prodigy", OPTIMIZER_PRODIGY, "d0=1e-4", 1},
    {"prodigy_warm", OPTIMIZER_PRODIGY, "d0=1e-4", 1},
    {"prodigy_options", OPTIMIZER_PRODIGY,
     "betas=0.8,0.95 beta3=0.9, eps=1e-6, weight_decay=0.1 use_bias_correction=True safeguard_warmup=True d0=1e-3 "
     "d_coef=2.0 growth_rate=1.3",
     0.8},
    {"prodigy_coupled", OPTIMIZER_PRODIGY, "betas=(0,0.99) weight_decay=0.2 decouple=False d0=1e-3", 0.3},
    {"prodigy_sliced", OPTIMIZER_PRODIGY, "d0=1e-3 slice_p=5", 1},
    {"dadaptadam", OPTIMIZER_DADAPTADAM, "", 1},
    {"dadaptadam_warm", OPTIMIZER_DADAPTADAM, "d0=1e-4 weight_decay=0.1", 0.5},
    {"dadaptadam_options", OPTIMIZER_DADAPTADAM,
     "betas=(0.8,0.95) eps=1e-6 weight_decay=0.1 decouple=True use_bias_correction=True d0=1e-3 growth_rate=1.2", 0.7},
    {"dadaptlion", OPTIMIZER_DADAPTLION, "", 1},
    {"dadaptlion_warm", OPTIMIZER_DADAPTLION, "betas=(0.8,0.95) weight_decay=0.1 d0=1e-3", 1},
    {"adafactor", OPTIMIZER_ADAFACTOR, "", 123},
    {"adafactor_init", OPTIMIZER_ADAFACTOR, "warmup_init=True weight_decay=0.1 beta1=0.9", 123},
    {"adafactor_warm", OPTIMIZER_ADAFACTOR, "relative_step=False scale_parameter=False", 1e-2},
    {"adafactor_options", OPTIMIZER_ADAFACTOR,
     "relative_step=False eps=(1e-12,1e-1) clip_threshold=0.5 decay_rate=-0.5 weight_decay=0.01", 0.05},
    {"schedulefree", OPTIMIZER_ADAMW_SCHEDULE_FREE, "", 1e-2},
    {"schedulefree_warm", OPTIMIZER_ADAMW_SCHEDULE_FREE, "weight_decay=0.1", 1e-2},
    {"schedulefree_options", OPTIMIZER_ADAMW_SCHEDULE_FREE,
     "betas=(0.8,0.95) eps=1e-6 weight_decay=0.1 warmup_steps=6 r=1 weight_lr_power=1", 3e-3},
};

static safetensors *fixture, *rates;
static leco_error err;

/* NULL where there is none. */
static const float *optional(const char *name, const char *suffix, size_t count)
{
    char full[64];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    const safetensors_entry *e = safetensors_find(fixture, full);
    if (!e) return NULL;
    assert_int_equal(e->count, count);
    return e->data;
}

static const float *values(const char *name, const char *suffix, size_t count)
{
    const float *found = optional(name, suffix, count);
    if (!found) fail_msg("the fixture has no %s%s", name, suffix);
    return found;
}

/* Where value i of the fixture's is in the flat buffer. */
static int place[WIDTH];

static void put(const float *from, float *to, float factor)
{
    for (int i = 0; i < WIDTH; i++) to[place[i]] = factor * from[i];
}

/* How far it is off, in units of a few roundings of the values and three times what the package's own float32 is off
 * from its float64. Between params all is 0. */
static double deviation(const float *found, const float *wanted, const float *start, const float *noise)
{
    double worst = 0;
    float between[FLAT];
    memcpy(between, found, sizeof between);
    for (int i = 0; i < WIDTH; i++) {
        const double w = (double)wanted[i], size = fmax(fabs(w), fabs((double)start[i]));
        const double off = fabs((double)found[place[i]] - w) / (3e-7 * size + 3 * (double)noise[i] + 1e-30);
        worst = off <= worst ? worst : off; /* a NaN is the worst */
        between[place[i]] = 0;
    }
    for (int i = 0; i < FLAT; i++) assert_true(between[i] == 0);
    return worst;
}

static void make_params(param *params, float *value, float *grad)
{
    size_t at = 0, index = 0;
    for (int k = 0; k < PARAMS; k++) {
        const shape s = shape_at(k);
        const size_t count = (size_t)shape_count(&s);
        params[k] = (param){.name = "p", .type = DTYPE_F32, .shape = s, .value = value + at, .grad = grad + at};
        for (size_t i = 0; i < count; i++) place[index++] = (int)(at + i);
        at += count + 2;
    }
}

/* Steps, and after each of them what it has and what it would give. In the middle all of it goes into another one, as
 * when a training is resumed. */
static void run_case(const optimizer_case *c)
{
    const float *expected = values(c->name, ".parameters", STEPS * WIDTH),
                *given = values("gradients", "", STEPS * WIDTH);
    const float *averages = optional(c->name, ".averages", STEPS * WIDTH), *lr = optional(c->name, ".lr", STEPS);
    float value[FLAT] = {0}, grad[FLAT] = {0}, average[FLAT] = {0};
    param params[PARAMS];
    make_params(params, value, grad);
    const float *start = values("start", "", WIDTH), *noise = values(c->name, ".noise", WIDTH);
    put(start, value, 1);
    optimizer_options options = optimizer_defaults(c->kind);
    assert_works(optimizer_parse(&options, c->args, &err), &err);
    assert_true(optimizer_averages(&options) == (averages != NULL));
    const flat_params on = {.values = value, .count = FLAT, .params = params, .param_count = PARAMS};
    optimizer *o[2];
    for (int i = 0; i < 2; i++) assert_works(optimizer_create(&options, &on, &o[i], &err), &err);
    double worst = 0, worst_average = 0;
    for (int step = 0; step < STEPS; step++) {
        optimizer *now = o[step >= STEPS / 2];
        if (step == STEPS / 2) {
            size_t count;
            const float *kept = optimizer_state(o[0], &count);
            if (count) memcpy(optimizer_state(now, &count), kept, count * sizeof *kept);
            optimizer_set_steps(now, optimizer_steps(o[0]));
        }
        put(given + step * WIDTH, grad, 2); /* undone by the scale */
        optimizer_step(now, grad, 0.5f, lr ? (double)lr[step] : c->lr);
        worst = fmax(worst, deviation(value, expected + step * WIDTH, start, noise));
        optimizer_average(now, average);
        worst_average =
            fmax(worst_average, deviation(average, (averages ? averages : expected) + step * WIDTH, start, noise));
    }
    assert_int_equal(optimizer_steps(o[1]), STEPS);
    for (int i = 0; i < 2; i++) optimizer_destroy(o[i]);
    printf("    %-22s off by %.2f, its average by %.2f of what may be\n", c->name, worst, worst_average);
    assert_true(worst <= 1 && worst_average <= 1);
}

static void optimizers_are_their_authors_own(void **state)
{
    (void)state;
    bool seen[OPTIMIZER_COUNT] = {false};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        run_case(&cases[i]);
        seen[cases[i].kind] = true;
    }
    for (int i = 0; i < OPTIMIZER_COUNT; i++) assert_true(seen[i]);
}

/* Each schedule over runs of several lengths, with and without a warm-up; torch finds most of its rates from one to the
 * next, which rounds. */
static void learning_rates_are_torch_s(void **state)
{
    (void)state;
    static const int64_t totals[] = {7, 60, 250}, warmups[] = {0, 5};
    int compared = 0;
    for (int k = 0; k < LR_COUNT; k++)
        for (int i = 0; i < 3; i++)
            for (int w = 0; w < 2; w++) {
                char name[64];
                const lr_plan plan = {.schedule = (lr_schedule)k, .warmup = (double)warmups[w], .power = 2.5};
                snprintf(name, sizeof name, "%s.%lld.%lld", lr_schedule_rows[k].name, (long long)totals[i],
                         (long long)warmups[w]);
                const safetensors_entry *e = safetensors_find(rates, name);
                if (!e) fail_msg("the fixture has no %s", name);
                assert_int_equal(e->count, totals[i]);
                for (int64_t step = 0; step < totals[i]; step++, compared++) {
                    const double wanted = ((const double *)e->data)[step], found = lr_at(&plan, 0.25, step, totals[i]);
                    if (!(fabs(found - wanted) <= 1e-13))
                        fail_msg("%s: step %lld has %.17g, expected %.17g", name, (long long)step, found, wanted);
                }
            }
    assert_int_equal(compared, LR_COUNT * 2 * (7 + 60 + 250));
}

static int open_fixture(void **state)
{
    (void)state;
#define FOLDER LECO_SOURCE_DIR "/tests/parity/fixtures/optimizer/"
    return safetensors_open(FOLDER "optimizer.safetensors", &fixture, &err) == LECO_OK &&
                   safetensors_open(FOLDER "learning_rates.safetensors", &rates, &err) == LECO_OK
               ? 0
               : -1;
}

static int close_fixture(void **state)
{
    (void)state;
    safetensors_close(fixture);
    safetensors_close(rates);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(optimizers_are_their_authors_own),
                                       cmocka_unit_test(learning_rates_are_torch_s)};
    return cmocka_run_group_tests_name("parity/optimizer", tests, open_fixture, close_fixture);
}
