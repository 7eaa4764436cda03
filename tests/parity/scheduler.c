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
    const sampling asked = {looked_at, .steps = steps, .spacing = SPACING_LEADING};
    assert_works(denoising_create(&asked, s, (latent_size){0}, &run, &err), &err);
    assert_int_equal(expected->count, steps);
    for (int step = 0; step < steps; step++) {
        int64_t t;
        memcpy(&t, (const char *)expected->data + (size_t)step * sizeof t, sizeof t);
        assert_true(denoising_timestep(run, step) == (double)t);
    }
    float scale = 1.0f;
    if (looked_at->grid == GRID_BETWEEN)
        memcpy(&scale, find("%s.noise_scale%.0s.%d", way, "", steps)->data, sizeof scale);
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
    const safetensors_entry *seen = looked_at->grid == GRID_BETWEEN ? find("%s.%s.%d.x_t", way, kind, steps) : states;
    assert_int_equal(outputs->count, steps * COUNT);
    assert_int_equal(states->count, (steps + 1) * COUNT);
    noise_schedule *s = schedule_of(way, kind);
    denoising *run;
    rng none;
    const sampling asked = {looked_at, .steps = steps, .spacing = SPACING_LEADING};
    assert_works(denoising_create(&asked, s, (latent_size){1, 1, COUNT, 1}, &run, &err), &err);
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

/* ---- whole runs: fixtures/samplers ---- */

enum { ELEMENTS = 16, ROW = 1 + ELEMENTS }; /* of [1,4,2,2]; with its timestep */
static const latent_size run_size = {1, 2, 2, 4};

static safetensors *runs;

/* "<sampler>.<kind>.<spacing>.<prediction>.<steps>" */
typedef struct run_case {
    sampling asked;
    schedule_config schedule;
    const safetensors_entry *rows; /* [model runs + 1, ROW] */
} run_case;

static bool read_case(const safetensors_entry *e, run_case *out)
{
    char name[32], kind[32], spacing[16], predicts[16];
    int steps;
    if (sscanf(e->name, "%31[^.].%31[^.].%15[^.].%15[^.].%d", name, kind, spacing, predicts, &steps) != 5) return false;
    *out = (run_case){.schedule = stable_diffusion, .rows = e};
    assert_works(sampler_parse(name, &out->asked.sampler, &err), &err);
    assert_works(spacing_parse(spacing, &out->asked.spacing, &err), &err);
    out->asked.steps = steps;
    out->asked.karras = strstr(kind, "karras") != NULL;
    out->schedule.zero_terminal_snr = strstr(kind, "zero") != NULL;
    out->schedule.prediction = strcmp(predicts, "v_prediction") == 0 ? PREDICT_V : PREDICT_EPSILON;
    out->schedule.steps_offset = strstr(kind, "offset0") == NULL;
    return true;
}

/* fixtures_samplers.py's model(), x_t and output [1,4,2,2]. */
static void stand_in(const float *x_t, double t, float *output)
{
    for (int i = 0; i < ELEMENTS; i++) output[i] = 0.9f * x_t[i] + (float)(0.3 * sin(0.01 * t + i));
}

/* The largest difference of two states, in units of the larger one's largest element, or of 1. */
static double apart(const float *a, const float *b)
{
    double most = 0, largest = 1;
    for (int i = 0; i < ELEMENTS; i++) {
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
        largest = fmax(largest, fabs((double)b[i]));
    }
    return isfinite(most) ? most / largest : INFINITY;
}

static void check_run(const run_case *c, uint64_t seed, double *worst)
{
    noise_schedule *s;
    denoising *run;
    rng r;
    float x[ELEMENTS], x_t[ELEMENTS], nchw[ELEMENTS], output[ELEMENTS];
    const float *row = c->rows->data;
    assert_works(noise_schedule_create(&c->schedule, &s, &err), &err);
    assert_works(denoising_create(&c->asked, s, run_size, &run, &err), &err);
    assert_true(c->rows->shape[0] == run->steps + 1 && c->rows->shape[1] == ROW);
    rng_seed(&r, RNG_CPU, seed);
    denoising_begin(run, 0, &r, 1);
    denoising_noise(run, x);
    for (int i = 0; i < ELEMENTS; i++) x[i] *= run->noise_scale;
    for (int64_t done = 0; done < run->steps; done++, row += ROW) {
        const double t = denoising_timestep(run, done);
        if (fabs(t - (double)row[0]) > (t == rint(t) ? 0 : 1e-3))
            fail_msg("%s: timestep %lld is %.9g, expected %.9g", c->rows->name, (long long)done, t, (double)row[0]);
        denoising_latent(run, done, x, x_t);
        latents_to_nchw(x_t, nchw, run_size);
        *worst = fmax(*worst, apart(nchw, row + 1));
        if (*worst > 1e-5) fail_msg("%s: x_t after %lld runs is off by %.1e", c->rows->name, (long long)done, *worst);
        stand_in(nchw, t, output);
        latents_from_nchw(output, x_t, run_size);
        denoising_step(run, done, x_t, x);
    }
    latents_to_nchw(x, nchw, run_size);
    *worst = fmax(*worst, apart(nchw, row + 1));
    if (*worst > 1e-5) fail_msg("%s: the end is off by %.1e", c->rows->name, *worst);
    denoising_destroy(run);
    mem_free(s);
}

/* Each sampler's runs from noise to a clean latent, by the noise of one seed: timesteps, all that the model sees, and
 * what comes out. */
static void whole_runs_are_diffusers(void **state)
{
    (void)state;
    int64_t seed;
    memcpy(&seed, safetensors_find(runs, "seed")->data, sizeof seed);
    for (size_t i = 0; sampler_at(i); i++) {
        double worst = 0;
        int count = 0;
        run_case c;
        for (size_t k = 0; k < safetensors_count(runs); k++) {
            if (!read_case(safetensors_at(runs, k), &c) || c.asked.sampler != sampler_at(i)) continue;
            check_run(&c, (uint64_t)seed, &worst);
            count++;
        }
        printf("    %-12s %d runs within %.1e\n", sampler_at(i)->name, count, worst);
        assert_true(count >= 27);
    }
}

/* Is there a run of it? */
static bool has_run(const run_case *wanted)
{
    run_case c;
    for (size_t k = 0; k < safetensors_count(runs); k++)
        if (read_case(safetensors_at(runs, k), &c) && c.asked.sampler == wanted->asked.sampler &&
            c.asked.spacing == wanted->asked.spacing && c.asked.karras == wanted->asked.karras &&
            c.schedule.prediction == wanted->schedule.prediction &&
            c.schedule.zero_terminal_snr == wanted->schedule.zero_terminal_snr &&
            c.schedule.steps_offset == wanted->schedule.steps_offset)
            return true;
    return false;
}

static bool is_accepted(const run_case *c)
{
    noise_schedule *s;
    denoising *run;
    leco_error refused;
    if (noise_schedule_create(&c->schedule, &s, &refused) != LECO_OK) return false;
    const bool accepted = denoising_create(&c->asked, s, run_size, &run, &refused) == LECO_OK;
    if (accepted) denoising_destroy(run);
    mem_free(s);
    return accepted;
}

/* Whatever one may ask for was compared above; spacings other than leading don't look at steps_offset. */
static void all_that_is_accepted_has_a_run(void **state)
{
    (void)state;
    int accepted = 0;
    for (size_t i = 0; sampler_at(i); i++)
        for (unsigned bits = 0; bits < 16; bits++)
            for (int spacing = SPACING_LEADING; spacing <= SPACING_TRAILING; spacing++) {
                run_case c = {.asked = {sampler_at(i), 12, (timestep_spacing)spacing, (bits & 1) != 0},
                              .schedule = stable_diffusion};
                c.schedule.zero_terminal_snr = (bits & 2) != 0;
                c.schedule.prediction = bits & 4 ? PREDICT_V : PREDICT_EPSILON;
                c.schedule.steps_offset = bits & 8 ? 0 : 1;
                if ((spacing != SPACING_LEADING && bits & 8) || !is_accepted(&c)) continue;
                if (!has_run(&c))
                    fail_msg("no run of %s, %s spacing, karras %d, zero %d, v %d, steps_offset %lld",
                             c.asked.sampler->name, spacing_name(c.asked.spacing), (int)c.asked.karras,
                             (int)c.schedule.zero_terminal_snr, (int)c.schedule.prediction,
                             (long long)c.schedule.steps_offset);
                accepted++;
            }
    assert_int_equal(accepted, 2 * 12 + 7 * 24); /* DDIM and DDPM know no sigmas */
}

/* But for torch's square roots in f32, of which one in five isn't the nearest float; where all but nothing is left of
 * them, that is the sixth digit. */
static void zero_terminal_snr_is_diffusers(void **state)
{
    (void)state;
    schedule_config config = stable_diffusion;
    config.zero_terminal_snr = true;
    config.prediction = PREDICT_V;
    noise_schedule *s;
    assert_works(noise_schedule_create(&config, &s, &err), &err);
    const float *expected = safetensors_find(runs, "zero.alphas_cumprod")->data;
    double worst = 0, most = 0;
    for (int t = 0; t < 999; t++) {
        const double off = fabs((double)s->alpha_bar[t] - (double)expected[t]);
        worst = fmax(worst, off);
        most = fmax(most, off / (double)expected[t]);
    }
    printf("    within %.1e, of itself %.1e\n", worst, most);
    assert_true(worst < 5e-7 && most < 1e-5 && s->alpha_bar[999] == 0 && expected[999] == 0);
    mem_free(s);
}

static int open_fixtures(void **state)
{
    (void)state;
    if (safetensors_open(LECO_SOURCE_DIR "/tests/parity/fixtures/samplers/samplers.safetensors", &runs, &err))
        return -1;
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
    safetensors_close(runs);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alpha_bar_is_torch_s_to_the_bit),
        cmocka_unit_test(timesteps_are_diffusers),
        cmocka_unit_test(steps_are_diffusers),
        cmocka_unit_test(zero_terminal_snr_is_diffusers),
        cmocka_unit_test(whole_runs_are_diffusers),
        cmocka_unit_test(all_that_is_accepted_has_a_run),
    };
    return cmocka_run_group_tests_name("parity/scheduler", tests, open_fixtures, close_fixtures);
}
