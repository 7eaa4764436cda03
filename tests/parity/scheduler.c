/* Noise schedule and samplers against fixtures/scheduler, which diffusers made. */
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "diffusion/sampler.h"
#include "format/safetensors.h"

/* Each sampler with the file of its cases. */
static struct {
    const sampler *sampler;
    const char *file;
    safetensors *cases;
} samplers[] = {{&sampler_ddim, "scheduler", NULL}, {&sampler_euler, "euler", NULL}};
#define SAMPLERS (sizeof samplers / sizeof *samplers)

static safetensors *fixture; /* of the sampler that is looked at */
static const sampler *looked_at;
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

static void look_at(size_t index)
{
    fixture = samplers[index].cases;
    looked_at = samplers[index].sampler;
}

static void alpha_bar_is_torch_s_to_the_bit(void **state)
{
    (void)state;
    look_at(0);
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

static void check_timesteps(const char *way, int steps)
{
    const safetensors_entry *expected = find("%s.timesteps%.0s.%d", way, "", steps);
    noise_schedule *s = schedule_of(way, "epsilon");
    denoising *run;
    assert_works(denoising_create(looked_at, s, steps, (latent_size){0}, &run, &err), &err);
    assert_int_equal(expected->count, steps);
    for (int step = 0; step < steps; step++) {
        int64_t t;
        memcpy(&t, (const char *)expected->data + (size_t)step * sizeof t, sizeof t);
        assert_true(denoising_timestep(run, step) == (double)t);
    }
    float scale = 1.0f;
    if (looked_at->latent) memcpy(&scale, find("%s.noise_scale%.0s.%d", way, "", steps)->data, sizeof scale);
    assert_true(fabsf(run->noise_scale - scale) <= 1e-6f * scale);
    denoising_destroy(run);
    mem_free(s);
}

static void timesteps_are_diffusers(void **state)
{
    (void)state;
    const int counts[] = {1, 2, 7, 10, 25, 30, 40, 50};
    for (size_t i = 0; i < SAMPLERS; i++) {
        look_at(i);
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            check_timesteps("offset0", counts[k]);
            check_timesteps("offset1", counts[k]);
        }
    }
}

enum { COUNT = 24 };

static void check_close(const float *x, const float *expected, const char *what)
{
    for (int k = 0; k < COUNT; k++)
        if (!(fabsf(x[k] - expected[k]) <= 1e-6f * (1 + fabsf(expected[k]))))
            fail_msg("%s %s: [%d] is %.9g, expected %.9g", looked_at->name, what, k, (double)x[k], (double)expected[k]);
}

/* Each of diffusers' states, seen by the model and stepped on once, must give the next. */
static void check_steps(const char *way, const char *kind, int steps)
{
    const safetensors_entry *outputs = find("%s.%s.%d.model_output", way, kind, steps);
    const safetensors_entry *states = find("%s.%s.%d.x", way, kind, steps);
    const safetensors_entry *seen = looked_at->latent ? find("%s.%s.%d.x_t", way, kind, steps) : states;
    assert_int_equal(outputs->count, steps * COUNT);
    assert_int_equal(states->count, (steps + 1) * COUNT);
    noise_schedule *s = schedule_of(way, kind);
    denoising *run;
    rng none;
    assert_works(denoising_create(looked_at, s, steps, (latent_size){1, 1, COUNT, 1}, &run, &err), &err);
    denoising_begin(run, 0, &none, 1);
    for (int i = 0; i < steps; i++) {
        const float *at = (const float *)states->data + (size_t)i * COUNT;
        float x[COUNT], x_t[COUNT];
        char what[64];
        snprintf(what, sizeof what, "%s %s, step %d of %d", way, kind, i, steps);
        memcpy(x, at, sizeof x);
        denoising_latent(run, i, x, x_t);
        check_close(x_t, (const float *)seen->data + (size_t)i * COUNT, what);
        denoising_step(run, i, (const float *)outputs->data + (size_t)i * COUNT, x);
        check_close(x, at + COUNT, what);
    }
    denoising_destroy(run);
    mem_free(s);
}

static void steps_are_diffusers(void **state)
{
    (void)state;
    const char *const ways[] = {"offset0", "offset1"}, *const kinds[] = {"epsilon", "v_prediction"};
    for (size_t at = 0; at < 4 * SAMPLERS; at++) {
        look_at(at / 4);
        check_steps(ways[at / 2 % 2], kinds[at % 2], 7);
        check_steps(ways[at / 2 % 2], kinds[at % 2], 25);
    }
}

static int open_fixtures(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLERS; i++) {
        char path[512];
        snprintf(path, sizeof path, LECO_SOURCE_DIR "/tests/parity/fixtures/scheduler/%s.safetensors",
                 samplers[i].file);
        if (safetensors_open(path, &samplers[i].cases, &err) != LECO_OK) return -1;
    }
    return 0;
}

static int close_fixtures(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLERS; i++) safetensors_close(samplers[i].cases);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alpha_bar_is_torch_s_to_the_bit),
        cmocka_unit_test(timesteps_are_diffusers),
        cmocka_unit_test(steps_are_diffusers),
    };
    return cmocka_run_group_tests_name("parity/scheduler", tests, open_fixtures, close_fixtures);
}
