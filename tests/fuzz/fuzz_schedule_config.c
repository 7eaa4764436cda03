/* scheduler_config.json, and the noise schedule that it describes. */
#include "fuzz.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "diffusion/sampler.h"

const char *const fuzz_words[] = {"\"_class_name\": ",
                                  "\"num_train_timesteps\": ",
                                  "\"beta_start\": ",
                                  "\"beta_end\": ",
                                  "\"beta_schedule\": ",
                                  "\"prediction_type\": ",
                                  "\"timestep_spacing\": ",
                                  "\"steps_offset\": ",
                                  "\"set_alpha_to_one\": ",
                                  "\"clip_sample\": ",
                                  "\"trained_betas\": ",
                                  "\"rescale_betas_zero_snr\": ",
                                  "\"thresholding\": ",
                                  "\"lambda_min_clipped\": -Infinity,\n",
                                  "\"DDPMScheduler\"",
                                  "\"PNDMScheduler\"",
                                  "\"FlowMatchEulerDiscreteScheduler\"",
                                  "\"v_prediction\"",
                                  "\"epsilon\"",
                                  "\"linear\"",
                                  "\"scaled_linear\"",
                                  "\"leading\"",
                                  "\"trailing\"",
                                  "\"linspace\"",
                                  "0.00085",
                                  "0.012",
                                  "[]",
                                  NULL};

static const char *const names[] = {"scheduler_config.json", NULL};

static void check_config(const schedule_config *c)
{
    FUZZ_CHECK(c->train_timesteps >= 1 && c->train_timesteps <= 1000000);
    FUZZ_CHECK(c->beta_start > 0 && c->beta_start <= c->beta_end && c->beta_end < 1);
    FUZZ_CHECK(c->steps_offset >= 0 && c->steps_offset < c->train_timesteps);
    FUZZ_CHECK(c->beta == BETA_LINEAR || c->beta == BETA_SCALED_LINEAR);
    FUZZ_CHECK(c->prediction == PREDICT_EPSILON || c->prediction == PREDICT_V);
}

/* ---- what was read, written and read again is the same ---- */

static json_t *written(const schedule_config *c)
{
    json_t *o =
        json_pack("{s:I, s:f, s:f, s:s, s:s, s:s*, s:I, s:b, s:b, s:b}", "num_train_timesteps",
                  (json_int_t)c->train_timesteps, "beta_start", c->beta_start, "beta_end", c->beta_end, "beta_schedule",
                  c->beta == BETA_LINEAR ? "linear" : "scaled_linear", "prediction_type",
                  c->prediction == PREDICT_V ? "v_prediction" : "epsilon", "timestep_spacing", spacing_name(c->spacing),
                  "steps_offset", (json_int_t)c->steps_offset, "set_alpha_to_one", (int)c->set_alpha_to_one,
                  "rescale_betas_zero_snr", (int)c->zero_terminal_snr, "clip_sample", (int)c->clip_sample);
    FUZZ_CHECK(o);
    return o;
}

static void check_again(const schedule_config *c)
{
    leco_error err = {0};
    schedule_config again;
    json_t *o = written(c);
    char *text = json_dumps(o, JSON_COMPACT);
    FUZZ_CHECK(text && schedule_config_read(fuzz_again("scheduler_config.json", text), &again, &err) == LECO_OK);
    json_t *o_again = written(&again);
    FUZZ_CHECK(json_equal(o, o_again));
    json_decref(o_again);
    json_decref(o);
    free(text);
}

/* A run of any number of steps that starts stays within the schedule, with the largest jitter, too. */
static void check_run(const noise_schedule *s, const sampling *asked)
{
    leco_error err = {0};
    denoising *d;
    rng none;
    leco_status status = denoising_create(asked, s, (latent_size){1, 1, 1, 1}, &d, &err);
    if (status != LECO_OK) {
        FUZZ_REFUSED(status, &err);
        FUZZ_CHECK(!d);
        return;
    }
    FUZZ_CHECK(denoising_jitter_range(d) >= 1);
    denoising_begin(d, denoising_jitter_range(d) - 1, &none, 1);
    for (int64_t done = 0; done < d->steps; done++) {
        double t = denoising_timestep(d, done);
        FUZZ_CHECK(t >= 0 && t < (double)s->train_timesteps);
        FUZZ_CHECK(d->sigma[done] >= 0 && (done == 0 || d->sigma[done] <= d->sigma[done - 1]));
    }
    denoising_destroy(d);
}

static void check_schedule(const schedule_config *c)
{
    leco_error err = {0};
    noise_schedule *s = NULL;
    if (c->train_timesteps > 2000 && c->train_timesteps <= 100000) return; /* would only take longer */
    leco_status status = noise_schedule_create(c, &s, &err);
    if (status != LECO_OK) {
        FUZZ_REFUSED(status, &err);
        FUZZ_CHECK(!s);
        return;
    }
    for (int64_t i = 0; i < s->train_timesteps; i++)
        FUZZ_CHECK(s->alpha_bar[i] >= 0 && s->alpha_bar[i] <= (i ? s->alpha_bar[i - 1] : 1.0f));
    FUZZ_CHECK(s->final_alpha_bar > 0 && s->final_alpha_bar <= 1);
    static const int64_t steps[] = {0, 1, 3, 25, 50, 1000, 1001};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        for (size_t k = 0; sampler_at(k); k++) {
            sampling asked = {sampler_at(k), steps[i], c->spacing, false};
            check_run(s, &asked);
            asked.karras = sampler_at(k)->grid != GRID_WHOLE;
            check_run(s, &asked);
        }
    mem_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    schedule_config config;
    fuzz_part parts[FUZZ_MAX_PARTS] = {{data, size}};
    leco_status status = schedule_config_read(fuzz_folder(names, parts), &config, &err);
    fuzz_accepted = status == LECO_OK;
    if (fuzz_accepted) {
        check_config(&config);
        check_again(&config);
        check_schedule(&config);
    } else {
        FUZZ_REFUSED(status, &err);
    }
    return 0;
}

bool fuzz_seed(unsigned index, const char *path)
{
    static const char *const files[] = {"models/shapes/scheduler/scheduler_config.json",
                                        "models/shapes-v/scheduler/scheduler_config.json",
                                        "tests/parity/fixtures/odd/scheduler/scheduler_config.json",
                                        "tests/parity/fixtures/sdxl-like/scheduler/scheduler_config.json"};
    if (index < 4) fuzz_put_file(path, files[index]);
    if (index == 4) fuzz_put(path, "{}");
    if (index == 5)
        fuzz_put(path, "{\"_class_name\": \"PNDMScheduler\",\n\"beta_schedule\": \"scaled_linear\",\n"
                       "\"num_train_timesteps\": 10,\n\"steps_offset\": 9,\n\"skip_prk_steps\": true\n}\n");
    return index < 6;
}
