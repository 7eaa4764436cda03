#include "train/trajectory.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "train/pace.h"

/* ---- what is drawn ---- */

/* Draws from what is left of [low, high): `taken` [count] holds the steps drawn so far, ascending, and gets another. */
static void draw_step(rng *r, int64_t low, int64_t high, int64_t *taken, size_t count)
{
    int64_t step = rng_randint(r, low, high - (int64_t)count);
    size_t i = 0;
    while (i < count && taken[i] <= step) { /* the step-th of those that are free */
        step++;
        i++;
    }
    memmove(&taken[i + 1], &taken[i], (count - i) * sizeof *taken);
    taken[i] = step;
}

/* All whose timestep (without jitter) the config lets be trained: [min_timestep, max_timestep); in compatibility mode
 * none before the first step is done, as p1atdev's trainer has it (docs/peers.md). Too few for the samples of a
 * trajectory are LECO_INVALID. */
static leco_status range_of(const denoising *run, const train_config *config, step_range *out, leco_error *err)
{
    const double low = (double)config->min_timestep, high = (double)config->max_timestep;
    step_range r = {config->compat == TIMESTEPS_P1ATDEV ? 1 : 0, run->steps};
    while (r.first < r.end && config->max_timestep && run->timestep[r.first] >= high) r.first++;
    while (r.first < r.end && run->timestep[r.end - 1] < low) r.end--;
    *out = r;
    if (r.end - r.first >= config->samples_per_trajectory) return LECO_OK;
    return error_set(err, LECO_INVALID,
                     "train.min_timestep and max_timestep leave %lld of the %lld denoising steps, too few for "
                     "samples_per_trajectory %lld",
                     (long long)(r.end - r.first), (long long)run->steps, (long long)config->samples_per_trajectory);
}

source_pass trajectory_draw(rng *r, const train_config *config, step_range from, int64_t jitter_range, int64_t *kept)
{
    source_pass pass = {.kept_count = (size_t)config->samples_per_trajectory, .kept = kept};
    for (size_t i = 0; i < pass.kept_count; i++) draw_step(r, from.first, from.end, kept, i);
    if (config->timestep_jitter) pass.jitter = rng_randint(r, 0, jitter_range);
    return pass;
}

sampling trajectory_sampling(const train_config *config)
{
    return (sampling){config->sampler, config->denoising_steps, config->spacing, config->karras};
}

double trajectory_timestep(const denoising *run, timestep_compat compat, int64_t done)
{
    if (compat == TIMESTEPS_RIGHT) return denoising_level(run, done);
    /* p1atdev's trainer looks the step up in the schedule of all timesteps, which starts higher than the run did. */
    int64_t all = run->schedule->train_timesteps;
    return (double)(all - 1 - done * all / run->steps);
}

/* x, denoised `done` steps -> the latent that is kept. In sigma's space p1atdev's trainer scales x by the timestep that
 * it tells the U-Net. */
static void keep(const denoising *run, timestep_compat compat, int64_t done, const float *x, float *kept)
{
    if (compat == TIMESTEPS_RIGHT || run->sampler->grid != GRID_BETWEEN) {
        denoising_latent(run, done, x, kept);
        return;
    }
    const float sigma = schedule_sigma(run->schedule, trajectory_timestep(run, compat, done));
    const float scale = sqrtf(sigma * sigma + 1.0f);
    for (size_t i = 0; i < run->count; i++) kept[i] = x[i] / scale;
}

/* ---- the row ---- */

typedef struct trajectory {
    source base;
    const train_config *config;
    const noise_schedule *trained; /* the trained model's; that of who denoises is in run */
    const source_spec *spec;       /* the objective's */
    denoiser *denoiser;
    conditioning prompt, unconditional;
    guided guided;
    denoising *run;
    step_range kept;
} trajectory;

static trajectory *of(const source *s)
{
    return (trajectory *)(uintptr_t)s;
}

static void destroy(source *s)
{
    trajectory *t = of(s);
    guided_free(&t->guided);
    denoising_destroy(t->run);
    mem_free(t);
}

static leco_status plan(trajectory *t, const training_setting *in, leco_error *err)
{
    latent_size asked = t->base.size;
    asked.batch = guided_batch(asked.batch, (float)t->spec->guidance_scale);
    LECO_TRY(setting_denoiser(in, t->spec->model, asked, t->spec->multiplier, false, &t->denoiser, err));
    const sampling how = trajectory_sampling(in->config);
    LECO_TRY(denoising_plan(&how, in->frozen[t->spec->model].schedule, t->base.size, &t->run, err));
    return range_of(t->run, in->config, &t->kept, err);
}

static leco_status prepare(source *s, const training_setting *in, leco_error *err)
{
    trajectory *t = of(s);
    LECO_TRY(setting_condition(in, t->spec->model, t->spec->prompt, s->size, &t->prompt, err));
    LECO_TRY(setting_condition(in, t->spec->model, t->spec->unconditional, s->size, &t->unconditional, err));
    LECO_TRY(guided_create(t->denoiser, (float)t->spec->guidance_scale, &t->guided, err));
    t->guided.from = (double)in->config->guidance_from;
    t->guided.end = (double)in->config->guidance_end;
    return denoising_prepare(t->run, err);
}

static leco_status create(const training_setting *in, const source_spec *spec, latent_size size, source **out,
                          leco_error *err)
{
    *out = NULL;
    trajectory *t = mem_calloc(1, sizeof *t);
    if (!t) return error_memory(err, sizeof *t, "a trajectory");
    t->base = (source){&source_trajectory, size, 1};
    t->config = in->config;
    t->trained = in->frozen[0].schedule;
    t->spec = spec;
    leco_status status = plan(t, in, err);
    if (status != LECO_OK) {
        destroy(&t->base);
        return status;
    }
    *out = &t->base;
    return LECO_OK;
}

static size_t bytes(const source *s)
{
    const trajectory *t = of(s);
    return sizeof *t + denoising_bytes(t->run) + 2 * latent_count(denoiser_size(t->denoiser)) * sizeof(float);
}

static source_pass draw(const source *s, rng *r, int64_t *kept)
{
    const trajectory *t = of(s);
    return trajectory_draw(r, t->config, t->kept, denoising_jitter_range(t->run), kept);
}

static leco_status run(source *s, const source_pass *pass, rng *r, float *noise, float *kept, const source_watch *watch,
                       leco_error *err)
{
    trajectory *t = of(s);
    for (int64_t i = 0; i < s->size.batch; i++) guided_set_context(&t->guided, i, &t->unconditional, &t->prompt);
    denoising_begin(t->run, pass->jitter, r, 1);
    float *x = noise;
    for (size_t i = 0; i < t->run->count; i++) x[i] *= t->run->noise_scale;
    int64_t done = 0;
    for (size_t i = 0; i < pass->kept_count; i++) {
        for (; done < pass->kept[i]; done++) {
            LECO_TRY(guided_step(&t->guided, t->run, done, x, err));
            if (watch->denoised && !watch->denoised(watch->user)) return error_set(err, LECO_INTERRUPTED, "stopped");
        }
        keep(t->run, t->config->compat, done, x, kept + i * t->run->count);
    }
    return LECO_OK;
}

static void again(source *s, const source_pass *pass, rng *r, const float *noise)
{
    (void)noise;
    denoising_begin(of(s)->run, pass->jitter, r, 1); /* which sets the timesteps */
}

static double timestep(const source *s, int64_t kept)
{
    const trajectory *t = of(s);
    const double own = trajectory_timestep(t->run, t->config->compat, kept);
    return schedule_same_noise(t->run->schedule, t->trained, own);
}

static double steps(const source *s, const source_pass *pass)
{
    const trajectory *t = of(s);
    if (pass) return (double)pass->kept[pass->kept_count - 1];
    return pace_mean_largest(t->kept.first, t->kept.end, t->config->samples_per_trajectory);
}

const source_row source_trajectory = {.name = "trajectory",
                                      .create = create,
                                      .prepare = prepare,
                                      .destroy = destroy,
                                      .bytes = bytes,
                                      .draw = draw,
                                      .run = run,
                                      .again = again,
                                      .timestep = timestep,
                                      .steps = steps};
