/* Noise schedules that can't be, step counts, jitter, guidance. */
#include "test_support.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/rng.h"
#include "diffusion/guidance.h"

static leco_error err;

static schedule_config plain(void)
{
    return (schedule_config){.train_timesteps = 1000,
                             .beta_start = 0.00085,
                             .beta_end = 0.012,
                             .beta = BETA_SCALED_LINEAR,
                             .steps_offset = 1,
                             .spacing = SPACING_LEADING};
}

static void impossible_schedules_are_refused(void **state)
{
    (void)state;
    noise_schedule *s;
    schedule_config c = plain();
    c.train_timesteps = 0;
    assert_fails(noise_schedule_create(&c, &s, &err), LECO_INVALID, &err, "num_train_timesteps");
    c = plain();
    c.beta_end = 1.5;
    assert_fails(noise_schedule_create(&c, &s, &err), LECO_INVALID, &err, "beta_end", "1.5");
    c = plain();
    c.beta_start = (double)NAN;
    assert_fails(noise_schedule_create(&c, &s, &err), LECO_INVALID, &err, "beta_start");
    c = plain();
    c.steps_offset = 1000;
    assert_fails(noise_schedule_create(&c, &s, &err), LECO_INVALID, &err, "steps_offset", "1000");
}

/* Spacing and clipping are what the folder asks of a sampler. */
static void samplers_wishes_do_not_change_the_noise(void **state)
{
    (void)state;
    schedule_config c = plain();
    noise_schedule *s, *other;
    assert_works(noise_schedule_create(&c, &s, &err), &err);
    static const timestep_spacing spacings[] = {SPACING_TRAILING, SPACING_LINSPACE};
    for (size_t i = 0; i < 2; i++) {
        c.spacing = spacings[i];
        c.clip_sample = true;
        assert_works(noise_schedule_create(&c, &other, &err), &err);
        assert_memory_equal(s, other, sizeof *s + 1000 * sizeof(float));
        mem_free(other);
    }
    mem_free(s);
}

static void timesteps_stay_inside_the_schedule(void **state)
{
    (void)state;
    schedule_config c = plain();
    noise_schedule *s;
    denoising *run;
    const latent_size one = {1, 1, 1, 1};
    rng none;
    assert_works(noise_schedule_create(&c, &s, &err), &err);
    for (int64_t steps = 1; steps <= 999; steps++) {
        assert_works(denoising_create(&sampler_ddim, s, steps, one, &run, &err), &err);
        int64_t range = denoising_jitter_range(run);
        assert_true(range >= 1 && range <= 1000 / steps);
        if (steps == 10) assert_int_equal(range, 99); /* 901 + 98 is the last timestep */
        denoising_begin(run, range - 1, &none, 1);
        assert_true(denoising_timestep(run, 0) >= 0 && denoising_timestep(run, 0) <= 999);
        assert_true(denoising_timestep(run, steps - 1) >= 0 && denoising_timestep(run, steps - 1) <= 999);
        denoising_destroy(run);
    }
    assert_fails(denoising_create(&sampler_ddim, s, 1000, one, &run, &err), LECO_INVALID, &err, "steps_offset");
    assert_null(run);
    assert_fails(denoising_create(&sampler_ddim, s, 0, one, &run, &err), LECO_INVALID, &err, "0 denoising steps");
    assert_fails(denoising_create(&sampler_ddim, s, 1001, one, &run, &err), LECO_INVALID, &err, "1001 denoising steps");
    mem_free(s);
}

/* A model that always predicts the noise that is there makes samplers follow it back to the clean latent. The run
 * starts at more noise than one without jitter would. */
static void follow_a_perfect_model(const sampler *one)
{
    for (int v = 0; v < 2; v++) {
        schedule_config c = plain();
        c.prediction = v ? PREDICT_V : PREDICT_EPSILON;
        c.set_alpha_to_one = true;
        noise_schedule *s;
        assert_works(noise_schedule_create(&c, &s, &err), &err);
        denoising *run;
        rng none;
        assert_works(denoising_create(one, s, 20, (latent_size){1, 1, 1, 1}, &run, &err), &err);
        denoising_begin(run, 7, &none, 1);
        const float clean = 0.7f, noise = -1.3f;
        float a = s->alpha_bar[(int64_t)denoising_timestep(run, 0)];
        float x_t = sqrtf(a) * clean + sqrtf(1 - a) * noise, x = x_t * run->noise_scale;
        for (int64_t i = 0; i < 20; i++) {
            a = s->alpha_bar[(int64_t)denoising_timestep(run, i)];
            denoising_latent(run, i, &x, &x_t);
            assert_true(fabsf(x_t - (sqrtf(a) * clean + sqrtf(1 - a) * noise)) < 1e-4f);
            float output = v ? sqrtf(a) * noise - sqrtf(1 - a) * clean : noise;
            denoising_step(run, i, &output, &x);
        }
        denoising_destroy(run);
        assert_true(fabsf(x - clean) < 1e-4f);
        mem_free(s);
    }
}

static void a_perfect_model_is_followed_to_the_clean_latent(void **state)
{
    (void)state;
    for (size_t i = 0; sampler_at(i); i++) follow_a_perfect_model(sampler_at(i));
}

static void guidance_extrapolates(void **state)
{
    (void)state;
    const float u[2] = {1, -2}, c[2] = {2, -2};
    float out[2];
    guidance_apply(u, c, 3, out, 2);
    assert_true(out[0] == 4 && out[1] == -2);
    guidance_apply(u, c, 0, out, 2);
    assert_true(out[0] == 1 && out[1] == -2);
}

/* diffusers' get_velocity, v = sqrt(a) noise - sqrt(1 - a) clean, is what an epsilon model's noise is converted to, and
 * back, at timesteps from the first to the last. */
static void noise_and_velocity_are_converted(void **state)
{
    (void)state;
    enum { COUNT = 64 };
    noise_schedule *s;
    const schedule_config c = plain();
    rng r;
    float clean[COUNT], noise[COUNT], x[COUNT], v[COUNT], eps[COUNT];
    assert_works(noise_schedule_create(&c, &s, &err), &err);
    rng_seed(&r, RNG_CPU, 7);
    double worst_v = 0, worst_eps = 0;
    for (int i = 0; i < 20; i++) {
        const double t = i * 999 / 19, a = (double)s->alpha_bar[(int)t]; /* as diffusers has them: whole ones */
        assert_true(schedule_alpha_bar(s, t) == a);
        rng_normal(&r, clean, COUNT);
        rng_normal(&r, noise, COUNT);
        for (int k = 0; k < COUNT; k++) {
            x[k] = (float)(sqrt(a) * (double)clean[k] + sqrt(1 - a) * (double)noise[k]);
            v[k] = eps[k] = noise[k];
        }
        prediction_convert(PREDICT_EPSILON, PREDICT_V, a, x, v, COUNT);
        for (int k = 0; k < COUNT; k++)
            worst_v = fmax(worst_v, fabs((double)v[k] - (sqrt(a) * (double)noise[k] - sqrt(1 - a) * (double)clean[k])));
        prediction_convert(PREDICT_V, PREDICT_EPSILON, a, x, v, COUNT);
        for (int k = 0; k < COUNT; k++) worst_eps = fmax(worst_eps, fabs((double)v[k] - (double)eps[k]));
        prediction_convert(PREDICT_V, PREDICT_V, a, x, eps, COUNT);
        assert_memory_equal(eps, noise, sizeof eps);
    }
    printf("    v within %.1e, back within %.1e\n", worst_v, worst_eps);
    assert_true(worst_v < 1e-5 && worst_eps < 2e-6);
    mem_free(s);
}

static void other_schedules_are_asked_at_the_same_noise(void **state)
{
    (void)state;
    noise_schedule *s, *same, *other;
    schedule_config c = plain();
    assert_works(noise_schedule_create(&c, &s, &err), &err);
    assert_works(noise_schedule_create(&c, &same, &err), &err);
    c.beta = BETA_LINEAR;
    c.beta_start = 1e-4;
    c.beta_end = 0.02;
    assert_works(noise_schedule_create(&c, &other, &err), &err);
    assert_true(schedule_same_noise(s, same, 123.5) == 123.5);
    for (double t = 20; t < 900; t += 7) {
        const double there = schedule_same_noise(s, other, t);
        assert_true(fabs(schedule_alpha_bar(other, there) - schedule_alpha_bar(s, t)) < 1e-7);
        assert_true(fabs(schedule_same_noise(other, s, there) - t) < 1e-2);
    }
    assert_true(schedule_same_noise(other, s, 999) == 999 && schedule_same_noise(other, s, 0) == 0);
    mem_free(s);
    mem_free(same);
    mem_free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(impossible_schedules_are_refused),
        cmocka_unit_test(samplers_wishes_do_not_change_the_noise),
        cmocka_unit_test(timesteps_stay_inside_the_schedule),
        cmocka_unit_test(a_perfect_model_is_followed_to_the_clean_latent),
        cmocka_unit_test(guidance_extrapolates),
        cmocka_unit_test(noise_and_velocity_are_converted),
        cmocka_unit_test(other_schedules_are_asked_at_the_same_noise),
    };
    return cmocka_run_group_tests_name("unit/schedule", tests, NULL, NULL);
}
