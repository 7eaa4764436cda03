/* Noise schedule and DDIM steps against fixtures/scheduler, which diffusers made. */
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "diffusion/sampler.h"
#include "format/safetensors.h"

static safetensors *fixture;
static leco_error err;

static const schedule_config stable_diffusion = {.train_timesteps = 1000,
                                                 .beta_start = 0.00085,
                                                 .beta_end = 0.012,
                                                 .beta = BETA_SCALED_LINEAR,
                                                 .spacing = SPACING_LEADING};

static const safetensors_entry *find(const char *format, const char *way, const char *kind, int steps)
{
    char name[128];
    snprintf(name, sizeof name, format, way, kind, steps);
    const safetensors_entry *e = safetensors_find(fixture, name);
    if (!e) fail_msg("the fixture has no %s", name);
    return e;
}

static noise_schedule *schedule_of(const char *way, const char *kind)
{
    schedule_config config = stable_diffusion;
    bool offset = strcmp(way, "offset1") == 0;
    config.steps_offset = offset;
    config.set_alpha_to_one = !offset;
    config.prediction = strcmp(kind, "v_prediction") == 0 ? PREDICT_V : PREDICT_EPSILON;
    noise_schedule *s;
    assert_works(noise_schedule_create(&config, &s, &err), &err);
    return s;
}

static void alpha_bar_is_torch_s_to_the_bit(void **state)
{
    (void)state;
    const safetensors_entry *expected = safetensors_find(fixture, "alphas_cumprod");
    assert_int_equal(expected->count, 1000);
    const char *const ways[] = {"offset0", "offset1"};
    for (int i = 0; i < 2; i++) {
        noise_schedule *s = schedule_of(ways[i], "epsilon");
        assert_memory_equal(s->alpha_bar, expected->data, 1000 * sizeof(float));
        const safetensors_entry *last = find("%s.final_alpha_cumprod%.0s%.0d", ways[i], "", 0);
        assert_memory_equal(&s->final_alpha_bar, last->data, sizeof(float));
        mem_free(s);
    }
}

static void timesteps_are_diffusers(void **state)
{
    (void)state;
    const char *const ways[] = {"offset0", "offset1"};
    const int counts[] = {1, 2, 7, 10, 25, 30, 40, 50};
    for (int i = 0; i < 2; i++) {
        noise_schedule *s = schedule_of(ways[i], "epsilon");
        for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
            const safetensors_entry *expected = find("%s.timesteps%.0s.%d", ways[i], "", counts[k]);
            denoising *run;
            assert_works(denoising_create(&sampler_ddim, s, counts[k], (latent_size){0}, &run, &err), &err);
            assert_int_equal(expected->count, counts[k]);
            for (int step = 0; step < counts[k]; step++) {
                int64_t t;
                memcpy(&t, (const char *)expected->data + (size_t)step * sizeof t, sizeof t);
                assert_true(denoising_timestep(run, step) == (double)t);
            }
            denoising_destroy(run);
        }
        mem_free(s);
    }
}

/* Each of diffusers' states, stepped on once, must give the next. */
static void check_steps(const char *way, const char *kind, int steps)
{
    enum { COUNT = 24 };
    const safetensors_entry *outputs = find("%s.%s.%d.model_output", way, kind, steps);
    const safetensors_entry *states = find("%s.%s.%d.x", way, kind, steps);
    assert_int_equal(outputs->count, steps * COUNT);
    assert_int_equal(states->count, (steps + 1) * COUNT);
    noise_schedule *s = schedule_of(way, kind);
    denoising *run;
    rng none;
    assert_works(denoising_create(&sampler_ddim, s, steps, (latent_size){1, 1, COUNT, 1}, &run, &err), &err);
    denoising_begin(run, 0, &none, 1);
    for (int i = 0; i < steps; i++) {
        float x[COUNT], output[COUNT], expected[COUNT];
        memcpy(x, (const float *)states->data + (size_t)i * COUNT, sizeof x);
        memcpy(expected, (const float *)states->data + (size_t)(i + 1) * COUNT, sizeof x);
        memcpy(output, (const float *)outputs->data + (size_t)i * COUNT, sizeof x);
        denoising_step(run, i, output, x);
        for (int k = 0; k < COUNT; k++)
            if (!(fabsf(x[k] - expected[k]) <= 1e-6f * (1 + fabsf(expected[k]))))
                fail_msg("%s %s, step %d of %d: [%d] is %.9g, expected %.9g", way, kind, i, steps, k, (double)x[k],
                         (double)expected[k]);
    }
    denoising_destroy(run);
    mem_free(s);
}

static void steps_are_diffusers(void **state)
{
    (void)state;
    const char *const ways[] = {"offset0", "offset1"}, *const kinds[] = {"epsilon", "v_prediction"};
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 2; k++) {
            check_steps(ways[i], kinds[k], 7);
            check_steps(ways[i], kinds[k], 25);
        }
    }
}

static int open_fixture(void **state)
{
    (void)state;
    const char *path = LECO_SOURCE_DIR "/tests/parity/fixtures/scheduler/scheduler.safetensors";
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alpha_bar_is_torch_s_to_the_bit),
        cmocka_unit_test(timesteps_are_diffusers),
        cmocka_unit_test(steps_are_diffusers),
    };
    return cmocka_run_group_tests_name("parity/scheduler", tests, open_fixture, close_fixture);
}
