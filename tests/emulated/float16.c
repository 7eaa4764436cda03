/* Training in float16 on an emulated card: the loss scale, what is resumed, and who computes in float16. */
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/emulate/card.h"
#include "base/file.h"
#include "leco/leco.h"
#include "train/trainer_internal.h"

#define MODEL LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like"
#define STATE "out/small.state.safetensors"
#define RESULT "out/small.safetensors"

static leco_error err;

/* As small as it can be: the card is slow. */
static const char text[] = "pretrained_model: {name_or_path: \"" MODEL "\"}\n"
                           "network: {rank: 2, dropout: 0.3}\n"
                           "train: {precision: float16, iterations: 5, max_denoising_steps: 2, lr: 1e-3,"
                           " samples_per_trajectory: 2}\n"
                           "save: {name: small, path: out, per_steps: 0}\n"
                           "prompts:\n"
                           "- {target: a red circle, positive: red, neutral: a circle, resolution: 16}\n";

static const char *config_file(void)
{
    test_write(test_path("train.yaml"), text, strlen(text));
    return test_path("train.yaml");
}

/* ---- the loss scale ---- */

typedef struct run {
    train_config config;
    trainer *t;
} run;

static void run_begin(run *r, loss_scale scale)
{
    assert_works(train_config_read(config_file(), NULL, 0, &r->config, &err), &err);
    assert_works(trainer_create_for(&r->config, NULL, "cuda", &r->t, &err), &err);
    assert_int_equal(r->t->device.compute, DTYPE_F16);
    r->t->scale = scale;
}

static void run_end(run *r)
{
    trainer_destroy(r->t);
    train_config_free(&r->config);
}

/* Trains on one latent. */
static void run_once(run *r)
{
    const source_pass pass = trainer_draw(r->t);
    assert_works(trainer_follow(r->t, &pass, r->t->noise, 1, NULL, NULL, &err), &err);
}

/* One that is too large is halved and the walk done again, with the same dropout: as if it had been so small before. */
static void a_step_that_overflows_is_done_again(void **state)
{
    (void)state;
    run large, small;
    run_begin(&large, (loss_scale){LOSS_SCALE_MOST, 5});
    run_once(&large);
    const loss_scale found = large.t->scale;
    printf("    2^%d is small enough\n", found.exponent);
    assert_true(found.exponent < LOSS_SCALE_MOST && found.exponent > 4);
    assert_int_equal(found.good, 1);
    assert_int_equal(trainer_steps(large.t), 1);
    run_begin(&small, (loss_scale){found.exponent, 0});
    run_once(&small);
    assert_int_equal(small.t->scale.exponent, found.exponent);
    const size_t bytes = trainable_count(small.t->trainable) * sizeof(float);
    assert_memory_equal(trainable_values(large.t->trainable), trainable_values(small.t->trainable), bytes);
    assert_true(small.t->loss == large.t->loss);
    assert_memory_equal(&large.t->rng, &small.t->rng, sizeof(rng));
    run_end(&large);
    run_end(&small);
}

/* Gradients are what they are in float32, whatever the scale, which neither the optimizer nor who watches sees. */
static void gradients_and_loss_do_not_show_it(void **state)
{
    (void)state;
    run r;
    double loss[2], norm[2];
    for (int i = 0; i < 2; i++) {
        run_begin(&r, (loss_scale){i ? 14 : 6, 0});
        run_once(&r);
        const gradients_of_step g = {trainable_grads(r.t->trainable), 1};
        norm[i] = gradients_norm(&g, trainable_count(r.t->trainable));
        loss[i] = r.t->loss;
        run_end(&r);
    }
    printf("    norms %.6g %.6g\n", norm[0], norm[1]);
    assert_true(loss[0] == loss[1]);
    assert_true(fabs(norm[0] / norm[1] - 1) < 0.05);
}

static void it_grows_while_all_goes_well(void **state)
{
    (void)state;
    run r;
    run_begin(&r, (loss_scale){8, LOSS_SCALE_PATIENCE - 1});
    run_once(&r);
    assert_int_equal(r.t->scale.exponent, 9);
    assert_int_equal(r.t->scale.good, 0);
    run_end(&r);
}

/* Where even a scale of 1 is too much it is said; an infinite loss is the trainer's to tell. */
static void what_float16_cannot_hold_is_told(void **state)
{
    (void)state;
    run r;
    denoiser *d;
    double loss;
    run_begin(&r, (loss_scale){3, 0});
    run_once(&r); /* it knows its text now */
    const denoiser_wish wish = {r.t->frozen[0].model, 77, r.t->lessons[0].size, 1, true};
    const size_t before = r.t->pool.count;
    assert_works(denoiser_pool_get(&r.t->pool, &wish, &d, &err), &err);
    assert_int_equal(r.t->pool.count, before);
    const size_t count = latent_count(wish.size);
    float *target = malloc(count * sizeof *target);
    for (size_t i = 0; i < count; i++) target[i] = 1e9f;
    assert_fails(denoiser_run_training(d, r.t->x, 500, target, &loss, &err), LECO_INVALID, &err, "gradients", "float16",
                 "float32");
    assert_int_equal(r.t->scale.exponent, 0);
    for (size_t i = 0; i < count; i++) target[i] = 1e30f;
    assert_works(denoiser_run_training(d, r.t->x, 500, target, &loss, &err), &err);
    assert_true(isinf(loss));
    free(target);
    run_end(&r);
}

/* ---- resuming ---- */

typedef struct stopper {
    int calls, stop_at; /* 0: never */
} stopper;

static bool watch(void *user, const leco_progress *p)
{
    stopper *s = user;
    (void)p;
    return s->stop_at == 0 || ++s->calls < s->stop_at;
}

static leco_status train(const char *device_name, bool resume, int stop_at)
{
    leco_train_report report = {0};
    stopper s = {.stop_at = stop_at};
    const leco_train_options o = {.device = device_name, .resume = resume, .progress = watch, .user = &s};
    const leco_status status = leco_train(config_file(), &o, &report, &err);
    leco_train_report_free(&report);
    return status;
}

/* To the same bits, the scale among what is kept. */
static void a_stopped_run_ends_as_one_that_never_was(void **state)
{
    (void)state;
    size_t size, found_size;
    int stops = 0, stop_at = 3;
    train_state kept;
    bool pending = false;
    setenv("SOURCE_DATE_EPOCH", "1700000000", 1);
    assert_works(train("cuda", false, 0), &err);
    unsigned char *expected = test_read(test_path(RESULT), &size);
    assert_int_equal(remove(test_path(RESULT)), 0);
    while (train("cuda", file_exists(test_path(STATE)), stop_at++) == LECO_INTERRUPTED) {
        stops++;
        if (!file_exists(test_path(STATE))) continue;
        assert_works(state_read(test_path(STATE), &kept, &err), &err);
        assert_true(kept.scaled && kept.scale.exponent <= LOSS_SCALE_FIRST);
        assert_true(kept.scale.good + LOSS_SCALE_FIRST - kept.scale.exponent > 0);
        pending = pending || kept.learnt > 0;
        state_free(&kept);
    }
    printf("    stopped %d times\n", stops);
    assert_true(stops >= 2 && pending);
    unsigned char *found = test_read(test_path(RESULT), &found_size);
    assert_int_equal(found_size, size);
    assert_memory_equal(found, expected, size);
    free(found);
    free(expected);
    test_remove_files("out");
}

/* A state without the scale isn't one of float16, nor the other way round; numbers that can't be are refused. */
static void states_are_checked(void **state)
{
    (void)state;
    const float values[] = {1, 2};
    const char *path = test_path("made.safetensors");
    train_state made = {.threads = 1, .iterations = 9, .done = 3, .loss = 1, .values = values, .value_count = 2};
    train_state read;
    rng_seed(&made.rng, RNG_CPU, 3);
    made.drawn = made.rng;
    made.scaled = true;
    made.scale = (loss_scale){12, 345};
    assert_works(state_write(&made, path, &err), &err);
    assert_works(state_read(path, &read, &err), &err);
    assert_true(read.scaled && read.scale.exponent == 12 && read.scale.good == 345);
    state_free(&read);
    made.scale.exponent = LOSS_SCALE_MOST + 1;
    assert_works(state_write(&made, path, &err), &err);
    assert_fails(state_read(path, &read, &err), LECO_FORMAT, &err, path, "loss scale");

    assert_int_equal(train("cuda", false, 4), LECO_INTERRUPTED);
    assert_works(state_read(test_path(STATE), &read, &err), &err);
    read.scaled = false;
    assert_works(state_write(&read, path, &err), &err);
    state_free(&read);
    assert_int_equal(rename(path, test_path(STATE)), 0);
    assert_fails(train("cuda", true, 0), LECO_FORMAT, &err, STATE, "loss scale");
    test_remove_files("out");
}

/* ---- which card has it ---- */

static dtype compute_of(const char *device_name, const char *precision)
{
    device d;
    assert_works(device_open(device_name, precision, &d, &err), &err);
    const dtype found = d.compute;
    device_close(&d);
    return found;
}

static void turing_computes_in_float16(void **state)
{
    (void)state;
    device d;
    assert_int_equal(compute_of("cuda", NULL), DTYPE_BF16);
    assert_int_equal(compute_of("cuda", "float16"), DTYPE_F16);
    emulated.capability = 75;
    assert_int_equal(compute_of("cuda", NULL), DTYPE_F16);
    assert_int_equal(compute_of("cuda", "float32"), DTYPE_F32);
    assert_fails(device_open("cuda", "bfloat16", &d, &err), LECO_UNSUPPORTED, &err, "\"cuda\"", "bfloat16",
                 "it has float32, float16");
    emulated.capability = 90;
    assert_fails(device_open("cpu", "float16", &d, &err), LECO_UNSUPPORTED, &err, "\"cpu\"", "can't compute in float16",
                 "it has float32");
    assert_fails(device_open("ref", "float16", &d, &err), LECO_UNSUPPORTED, &err, "\"ref\"", "float64, float32");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_that_overflows_is_done_again),
        cmocka_unit_test(gradients_and_loss_do_not_show_it),
        cmocka_unit_test(it_grows_while_all_goes_well),
        cmocka_unit_test(what_float16_cannot_hold_is_told),
        cmocka_unit_test(a_stopped_run_ends_as_one_that_never_was),
        cmocka_unit_test(states_are_checked),
        cmocka_unit_test(turing_computes_in_float16),
    };
    return cmocka_run_group_tests_name("emulated/float16", tests, NULL, NULL);
}
