/* Noise schedules that can't be, step counts, jitter, guidance. */
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

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

static leco_status create(int64_t steps, const noise_schedule *s, latent_size size, denoising **run)
{
    const sampling asked = {&sampler_ddim, .steps = steps};
    return denoising_create(&asked, s, size, run, &err);
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
        assert_works(create(steps, s, one, &run), &err);
        int64_t range = denoising_jitter_range(run);
        assert_true(range >= 1 && range <= 1000 / steps);
        if (steps == 10) assert_int_equal(range, 99); /* 901 + 98 is the last timestep */
        denoising_begin(run, range - 1, &none, 1);
        assert_true(denoising_timestep(run, 0) >= 0 && denoising_timestep(run, 0) <= 999);
        assert_true(denoising_timestep(run, steps - 1) >= 0 && denoising_timestep(run, steps - 1) <= 999);
        denoising_destroy(run);
    }
    assert_fails(create(1000, s, one, &run), LECO_INVALID, &err, "steps_offset");
    assert_null(run);
    assert_fails(create(0, s, one, &run), LECO_INVALID, &err, "0 denoising steps");
    assert_fails(create(1001, s, one, &run), LECO_INVALID, &err, "1001 denoising steps");
    mem_free(s);
}

/* ---- runs ---- */

static noise_schedule *schedule_that_predicts(prediction p, bool zero_terminal_snr)
{
    schedule_config c = plain();
    noise_schedule *s;
    c.prediction = p;
    c.set_alpha_to_one = true;
    c.zero_terminal_snr = zero_terminal_snr;
    assert_works(noise_schedule_create(&c, &s, &err), &err);
    return s;
}

/* A model that knows the clean latent and always predicts it makes samplers find it, and those that add no noise follow
 * the noise that was there: each x_t has the noise of its level. */
static void follow_a_perfect_model(const sampling *asked, prediction p, bool zero, bool jitter)
{
    const char *const noisy = "ddpm euler_a dpmpp_2m_sde";
    noise_schedule *s = schedule_that_predicts(p, zero);
    denoising *run;
    rng r;
    rng_seed(&r, RNG_CPU, 3);
    assert_works(denoising_create(asked, s, (latent_size){1, 1, 1, 1}, &run, &err), &err);
    denoising_begin(run, jitter ? denoising_jitter_range(run) - 1 : 0, &r, 1);
    const float clean = 0.7f, noise = -1.3f;
    const double sigma = (double)run->sigma[0];
    float x_t = (float)((double)clean + sigma * (double)noise), x = x_t;
    if (asked->sampler->grid != GRID_BETWEEN) x = (float)((double)x_t / sqrt(sigma * sigma + 1));
    if (asked->sampler->grid == GRID_WHOLE && s->alpha_bar[(int64_t)denoising_timestep(run, 0)] == 0) x = noise;
    for (int64_t i = 0; i < run->steps; i++) {
        const double level = denoising_level(run, i), a = schedule_alpha_bar(s, level);
        const double told = schedule_alpha_bar(s, denoising_timestep(run, i));
        const double expected = sqrt(a) * (double)clean + sqrt(1 - a) * (double)noise;
        denoising_latent(run, i, &x, &x_t);
        /* Between two timesteps sigma is linear, and alpha-bar nearly. DDIM is told wrongly with linspace spacing. */
        if (!strstr(noisy, asked->sampler->name) && !asked->karras && level == rint(level) &&
            (asked->sampler != &sampler_ddim || asked->spacing != SPACING_LINSPACE) &&
            fabs((double)x_t - expected) > 2e-3)
            fail_msg("%s: x_t is %g after %lld runs, expected %g", asked->sampler->name, (double)x_t, (long long)i,
                     expected);
        /* of what it is told, as the sampler will understand it */
        const double signal = sqrt(asked->sampler->grid == GRID_WHOLE ? told : 1 / (1 + pow((double)run->sigma[i], 2)));
        const double spread = sqrt(1 - signal * signal), eps = ((double)x_t - signal * (double)clean) / spread;
        float output = (float)(p == PREDICT_V ? signal * eps - spread * (double)clean : eps);
        denoising_step(run, i, &output, &x);
    }
    if (fabsf(x - clean) > 1e-3f)
        fail_msg("%s %s: the end is %g, expected %g", asked->sampler->name, spacing_name(asked->spacing), (double)x,
                 (double)clean);
    denoising_destroy(run);
    mem_free(s);
}

static void a_perfect_model_is_followed_to_the_clean_latent(void **state)
{
    (void)state;
    static const timestep_spacing spacings[] = {SPACING_LEADING, SPACING_LINSPACE, SPACING_TRAILING};
    for (size_t i = 0; sampler_at(i); i++)
        for (size_t k = 0; k < 3; k++)
            for (int way = 0; way < 16; way++) {
                const sampling asked = {sampler_at(i), 20, spacings[k], way & 1};
                const prediction p = way & 2 ? PREDICT_V : PREDICT_EPSILON;
                if (asked.karras && asked.sampler->grid == GRID_WHOLE) continue;
                if ((way & 4) && p == PREDICT_EPSILON) continue;
                follow_a_perfect_model(&asked, p, way & 4, way & 8);
            }
}

/* The rule of two points is exact for what diffusers integrates numerically: with slopes of a cubic in sigma, of which
 * four are known, lms follows its integral. */
static void lms_is_exact_for_cubic_slopes(void **state)
{
    (void)state;
    noise_schedule *s = schedule_that_predicts(PREDICT_EPSILON, false);
    const sampling asked = {&sampler_lms, .steps = 12};
    denoising *run;
    rng none;
    assert_works(denoising_create(&asked, s, (latent_size){1, 1, 1, 1}, &run, &err), &err);
    denoising_begin(run, 0, &none, 1);
    float x = 0;
    for (int64_t i = 0; i < run->steps; i++) {
        const double from = (double)run->sigma[i] / 10, to = (double)run->sigma[i + 1] / 10;
        const float slope = (float)(1 - from + from * from * from), before = x;
        denoising_step(run, i, &slope, &x);
        const double exact = 10 * ((to - to * to / 2 + pow(to, 4) / 4) - (from - from * from / 2 + pow(from, 4) / 4));
        if (i >= 3) assert_true(fabs((double)x - (double)before - exact) < 1e-4 * (1 + fabs(exact)));
    }
    denoising_destroy(run);
    mem_free(s);
}

/* With linspace spacing DDIM tells the model of less noise than there is, as diffusers does; training isn't told so. */
static void the_level_is_that_of_the_noise(void **state)
{
    (void)state;
    noise_schedule *s = schedule_that_predicts(PREDICT_EPSILON, false);
    sampling asked = {&sampler_ddim, 5, SPACING_LINSPACE, false};
    denoising *run;
    assert_works(denoising_create(&asked, s, (latent_size){0}, &run, &err), &err);
    assert_true(denoising_timestep(run, 1) == 749 && denoising_level(run, 1) == 799);
    denoising_destroy(run);
    for (size_t i = 0; sampler_at(i); i++) { /* all others: the same, of all that is whole */
        asked = (sampling){sampler_at(i), 25, SPACING_LEADING, false};
        assert_works(denoising_create(&asked, s, (latent_size){0}, &run, &err), &err);
        assert_int_equal(run->steps, asked.sampler->twice ? 49 : 25);
        for (int64_t k = 0; k < run->steps; k++) assert_true(denoising_timestep(run, k) == denoising_level(run, k));
        denoising_destroy(run);
    }
    mem_free(s);
}

static void what_does_not_go_together_is_refused(void **state)
{
    (void)state;
    noise_schedule *s = schedule_that_predicts(PREDICT_EPSILON, false);
    denoising *run;
    const latent_size none = {0};
    sampling asked = {&sampler_ddpm, 20, SPACING_LEADING, true};
    assert_fails(denoising_create(&asked, s, none, &run, &err), LECO_INVALID, &err, "\"ddpm\"", "Karras");
    assert_null(run);
    asked = (sampling){&sampler_dpmpp_2m, 1000, SPACING_LINSPACE, false};
    assert_fails(denoising_create(&asked, s, none, &run, &err), LECO_INVALID, &err, "1000 denoising steps", "linspace",
                 "twice");
    asked.spacing = SPACING_LEADING;
    assert_fails(denoising_create(&asked, s, none, &run, &err), LECO_INVALID, &err, "leading", "twice");
    mem_free(s);
    schedule_config c = plain();
    c.zero_terminal_snr = true;
    assert_fails(noise_schedule_create(&c, &s, &err), LECO_INVALID, &err, "rescale_betas_zero_snr", "v_prediction");
    c.prediction = PREDICT_V;
    c.train_timesteps = 1;
    c.steps_offset = 0;
    assert_fails(noise_schedule_create(&c, &s, &err), LECO_INVALID, &err, "rescale_betas_zero_snr");
    c.train_timesteps = 1000;
    c.beta_start = c.beta_end = 1e-12;
    assert_fails(noise_schedule_create(&c, &s, &err), LECO_INVALID, &err, "rescale_betas_zero_snr");
}

/* Where timesteps end at the schedule's last one, jitter goes down; where they fill it, there is none. */
static void jitter_goes_where_there_is_room(void **state)
{
    (void)state;
    noise_schedule *s = schedule_that_predicts(PREDICT_EPSILON, false);
    static const struct {
        const sampler *sampler;
        timestep_spacing spacing;
        int64_t range;
        double first, last; /* with the most jitter */
    } cases[] = {
        {&sampler_ddim, SPACING_LEADING, 49, 951 + 48, 1 + 48}, {&sampler_ddim, SPACING_TRAILING, 50, 950, 0},
        {&sampler_ddim, SPACING_LINSPACE, 1, 999, 0},           {&sampler_euler, SPACING_TRAILING, 50, 950, 0},
        {&sampler_dpmpp_2m, SPACING_LEADING, 47, 941 + 46, 94}, {&sampler_dpmpp_2m, SPACING_LINSPACE, 49, 951, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sampling asked = {cases[i].sampler, 20, cases[i].spacing, false};
        denoising *run;
        rng none;
        assert_works(denoising_create(&asked, s, (latent_size){1, 1, 1, 1}, &run, &err), &err);
        assert_int_equal(denoising_jitter_range(run), cases[i].range);
        denoising_begin(run, cases[i].range - 1, &none, 1);
        assert_true(denoising_timestep(run, 0) == cases[i].first && denoising_timestep(run, 19) == cases[i].last);
        assert_true(fabsf(run->sigma[3] - schedule_sigma(s, denoising_timestep(run, 3))) < 1e-6f);
        denoising_destroy(run);
        if (asked.sampler->grid == GRID_WHOLE) continue;
        asked.karras = true;
        assert_works(denoising_create(&asked, s, (latent_size){1, 1, 1, 1}, &run, &err), &err);
        assert_int_equal(denoising_jitter_range(run), 1);
        denoising_destroy(run);
    }
    mem_free(s);
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
        cmocka_unit_test(lms_is_exact_for_cubic_slopes),
        cmocka_unit_test(the_level_is_that_of_the_noise),
        cmocka_unit_test(what_does_not_go_together_is_refused),
        cmocka_unit_test(jitter_goes_where_there_is_room),
        cmocka_unit_test(guidance_extrapolates),
        cmocka_unit_test(noise_and_velocity_are_converted),
        cmocka_unit_test(other_schedules_are_asked_at_the_same_noise),
    };
    return cmocka_run_group_tests_name("unit/schedule", tests, NULL, NULL);
}
