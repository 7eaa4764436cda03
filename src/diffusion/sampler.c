#include "diffusion/sampler.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"

/* ---- timesteps ---- */

/* Timesteps and, where they don't follow from these, sigmas of asked.steps steps. */
static leco_status space_steps(denoising *d, leco_error *err)
{
    const noise_schedule *s = d->schedule;
    const int64_t steps = d->asked.steps;
    const timestep_grid grid = d->sampler->grid;
    const bool open = grid == GRID_OPEN;
    if (!d->asked.karras || !open) /* on an open grid, Karras' sigmas are those of the whole schedule */
        LECO_TRY(schedule_timesteps(s, d->asked.spacing, grid, steps, d->timestep, err));
    if (d->asked.karras)
        schedule_karras(s, open ? (double)(s->train_timesteps - 1) : d->timestep[0], open ? 0 : d->timestep[steps - 1],
                        steps, d->sigma, d->timestep);
    return LECO_OK;
}

static void fill_sigmas(denoising *d)
{
    if (!d->asked.karras)
        for (int64_t i = 0; i < d->steps; i++) d->sigma[i] = schedule_sigma(d->schedule, denoising_timestep(d, i));
    d->noise_scale = 1.0f;
    if (d->sampler->grid == GRID_BETWEEN)
        d->noise_scale = d->asked.spacing == SPACING_LEADING ? sqrtf(d->sigma[0] * d->sigma[0] + 1.0f) : d->sigma[0];
}

/* Model runs of a sampler that runs it twice a step: 0 | 1 1 | 2 2 | ... */
static void double_steps(denoising *d)
{
    for (int64_t i = d->steps - 1; i > 0; i--) {
        d->timestep[i] = d->timestep[(i + 1) / 2];
        d->sigma[i] = d->sigma[(i + 1) / 2];
    }
}

static leco_status lay_out(denoising *d, leco_error *err)
{
    LECO_TRY(space_steps(d, err));
    if (d->sampler->twice) double_steps(d);
    memcpy(d->level, d->timestep, (size_t)d->steps * sizeof *d->level);
    if (d->asked.karras && d->sampler->grid != GRID_BETWEEN)
        for (int64_t i = 0; i < d->steps; i++) d->timestep[i] = rint(d->timestep[i]);
    if (d->sampler->levels) d->sampler->levels(d);
    d->sigma[d->steps] = 0.0f;
    fill_sigmas(d);
    return LECO_OK;
}

/* ---- life ---- */

static size_t plan_bytes(const denoising *d)
{
    return 2 * (size_t)d->steps * sizeof(double) + (size_t)(d->steps + 1) * sizeof(float);
}

static leco_status plan(denoising *d, leco_error *err)
{
    const size_t steps = (size_t)d->steps;
    d->timestep = mem_calloc(2 * steps, sizeof *d->timestep);
    d->sigma = mem_calloc(steps + 1, sizeof *d->sigma);
    if (!d->timestep || !d->sigma) return error_memory(err, plan_bytes(d), "a sampler");
    d->level = d->timestep + steps;
    return lay_out(d, err);
}

int64_t sampling_runs(const sampling *asked)
{
    return asked->sampler->twice ? 2 * asked->steps - 1 : asked->steps;
}

leco_status denoising_plan(const sampling *asked, const noise_schedule *schedule, latent_size size, denoising **out,
                           leco_error *err)
{
    const sampler *s = asked->sampler;
    *out = NULL;
    if (asked->steps < 1 || asked->steps > schedule->train_timesteps)
        return error_set(err, LECO_INVALID, "%lld denoising steps: expected 1 to %lld", (long long)asked->steps,
                         (long long)schedule->train_timesteps);
    if (asked->karras && s->grid == GRID_WHOLE)
        return error_set(err, LECO_INVALID,
                         "scheduler \"%s\" steps on timesteps, not on sigmas: Karras' sigmas aren't for it", s->name);
    denoising *d = mem_calloc(1, sizeof *d);
    if (!d) return error_memory(err, sizeof *d, "a sampler");
    *d = (denoising){.sampler = s, .schedule = schedule, .asked = *asked, .size = size};
    if (d->asked.spacing == SPACING_UNSAID) d->asked.spacing = s->spacing;
    d->steps = sampling_runs(asked);
    d->count = latent_count(size);
    leco_status status = plan(d, err);
    if (status != LECO_OK) {
        denoising_destroy(d);
        return status;
    }
    *out = d;
    return LECO_OK;
}

leco_status denoising_prepare(denoising *d, leco_error *err)
{
    const size_t copies = (size_t)d->sampler->copies;
    d->scratch = mem_calloc(d->count, sizeof *d->scratch);
    if (copies) d->memory = mem_calloc(copies * d->count, sizeof *d->memory);
    if (d->scratch && (d->memory || !copies)) return LECO_OK;
    return error_memory(err, (1 + copies) * d->count * sizeof *d->scratch, "a sampler");
}

leco_status denoising_create(const sampling *asked, const noise_schedule *schedule, latent_size size, denoising **out,
                             leco_error *err)
{
    LECO_TRY(denoising_plan(asked, schedule, size, out, err));
    leco_status status = denoising_prepare(*out, err);
    if (status == LECO_OK) return LECO_OK;
    denoising_destroy(*out);
    *out = NULL;
    return status;
}

void denoising_destroy(denoising *d)
{
    if (!d) return;
    mem_free(d->timestep);
    mem_free(d->sigma);
    mem_free(d->scratch);
    mem_free(d->memory);
    mem_free(d);
}

size_t denoising_bytes(const denoising *d)
{
    size_t floats = (size_t)(1 + d->sampler->copies) * d->count;
    return sizeof *d + plan_bytes(d) + floats * sizeof(float);
}

/* ---- runs ---- */

/* Is there more room above the first timestep than below the last one? */
static bool jitters_upwards(const denoising *d)
{
    return (double)(d->schedule->train_timesteps - 1) - d->timestep[0] >= d->timestep[d->steps - 1];
}

int64_t denoising_jitter_range(const denoising *d)
{
    const double last = (double)(d->schedule->train_timesteps - 1);
    if (d->asked.karras) return 1;
    double range = 1 + (jitters_upwards(d) ? last - d->timestep[0] : d->timestep[d->steps - 1]);
    for (int64_t i = 1; i < d->steps; i++) {
        const double gap = d->timestep[i - 1] - d->timestep[i];
        if (gap > 0 && gap < range) range = gap;
    }
    return (int64_t)range;
}

void denoising_begin(denoising *d, int64_t jitter, rng *r, size_t rng_count)
{
    assert(jitter >= 0 && jitter < denoising_jitter_range(d));
    assert(rng_count == 1 || rng_count == (size_t)d->size.batch);
    d->jitter = jitters_upwards(d) ? jitter : -jitter;
    d->rng = r;
    d->rng_count = rng_count;
    fill_sigmas(d);
    if (d->memory) memset(d->memory, 0, (size_t)d->sampler->copies * d->count * sizeof *d->memory);
}

double denoising_timestep(const denoising *d, int64_t done)
{
    return d->timestep[done] + (double)d->jitter;
}

double denoising_level(const denoising *d, int64_t done)
{
    return d->level[done] + (double)d->jitter;
}

void denoising_latent(const denoising *d, int64_t done, const float *x, float *x_t)
{
    const float sigma = d->sigma[done], scale = sqrtf(sigma * sigma + 1.0f);
    if (d->sampler->grid == GRID_BETWEEN)
        for (size_t i = 0; i < d->count; i++) x_t[i] = x[i] / scale;
    else if (x_t != x)
        memcpy(x_t, x, d->count * sizeof *x);
}

void denoising_step(denoising *d, int64_t done, const float *output, float *x)
{
    d->sampler->step(d, done, output, x);
}

void denoising_noise(denoising *d, float *noise)
{
    latent_size part = d->size;
    part.batch /= (int64_t)d->rng_count;
    for (size_t i = 0; i < d->rng_count; i++)
        latents_draw(&d->rng[i], d->scratch, noise + i * latent_count(part), part);
}
