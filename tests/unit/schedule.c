/* Noise schedules that can't be, step counts, jitter, guidance. */
#include "test_support.h"

#include <math.h>

#include "base/mem.h"
#include "diffusion/schedule.h"

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

static void walks_stay_inside_the_schedule(void **state)
{
    (void)state;
    schedule_config c = plain();
    noise_schedule *s;
    ddim walk;
    assert_works(noise_schedule_create(&c, &s, &err), &err);
    for (int64_t steps = 1; steps <= 999; steps++) {
        int64_t range = ddim_jitter_range(s, steps);
        assert_true(range >= 1 && range <= 1000 / steps);
        assert_works(ddim_start(s, steps, range - 1, &walk, &err), &err);
        assert_in_range(ddim_timestep(&walk, 0), 0, 999);
        assert_in_range(ddim_timestep(&walk, steps - 1), 0, 999);
        assert_fails(ddim_start(s, steps, range, &walk, &err), LECO_INVALID, &err, "jitter");
    }
    assert_int_equal(ddim_jitter_range(s, 10), 99); /* 901 + 98 is the last timestep */
    assert_fails(ddim_start(s, 1000, 0, &walk, &err), LECO_INVALID, &err, "steps_offset");
    assert_fails(ddim_start(s, 0, 0, &walk, &err), LECO_INVALID, &err, "0 denoising steps");
    assert_fails(ddim_start(s, 1001, 0, &walk, &err), LECO_INVALID, &err, "1001 denoising steps");
    mem_free(s);
}

/* A model that always predicts the noise that is there makes DDIM follow it back to the clean latent. */
static void a_perfect_model_is_followed_to_the_clean_latent(void **state)
{
    (void)state;
    for (int v = 0; v < 2; v++) {
        schedule_config c = plain();
        c.prediction = v ? PREDICT_V : PREDICT_EPSILON;
        c.set_alpha_to_one = true;
        noise_schedule *s;
        assert_works(noise_schedule_create(&c, &s, &err), &err);
        ddim walk;
        assert_works(ddim_start(s, 20, 7, &walk, &err), &err);
        const float clean = 0.7f, noise = -1.3f;
        float a = s->alpha_bar[ddim_timestep(&walk, 0)];
        float x = sqrtf(a) * clean + sqrtf(1 - a) * noise;
        for (int64_t i = 0; i < 20; i++) {
            int64_t t = ddim_timestep(&walk, i);
            a = s->alpha_bar[t];
            float output = v ? sqrtf(a) * noise - sqrtf(1 - a) * clean : noise;
            ddim_step(&walk, t, &output, &x, 1);
        }
        assert_true(fabsf(x - clean) < 1e-4f);
        mem_free(s);
    }
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(impossible_schedules_are_refused),
        cmocka_unit_test(samplers_wishes_do_not_change_the_noise),
        cmocka_unit_test(walks_stay_inside_the_schedule),
        cmocka_unit_test(a_perfect_model_is_followed_to_the_clean_latent),
        cmocka_unit_test(guidance_extrapolates),
    };
    return cmocka_run_group_tests_name("unit/schedule", tests, NULL, NULL);
}
