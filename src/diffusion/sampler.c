#include "diffusion/sampler.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

leco_status denoising_plan(const sampler *s, const noise_schedule *schedule, int64_t steps, latent_size size,
                           denoising **out, leco_error *err)
{
    *out = NULL;
    if (steps < 1 || steps > schedule->train_timesteps)
        return error_set(err, LECO_INVALID, "%lld denoising steps: expected 1 to %lld", (long long)steps,
                         (long long)schedule->train_timesteps);
    denoising *d = mem_calloc(1, sizeof *d);
    if (!d) return error_memory(err, sizeof *d, "a sampler");
    *d = (denoising){.sampler = s, .schedule = schedule, .steps = steps, .noise_scale = 1.0f, .size = size};
    d->count = latent_count(size);
    d->timestep = mem_calloc((size_t)steps, sizeof *d->timestep);
    leco_status status =
        d->timestep ? s->start(d, err) : error_memory(err, (size_t)steps * sizeof *d->timestep, "a sampler");
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

leco_status denoising_create(const sampler *s, const noise_schedule *schedule, int64_t steps, latent_size size,
                             denoising **out, leco_error *err)
{
    LECO_TRY(denoising_plan(s, schedule, steps, size, out, err));
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
    mem_free(d->scratch);
    mem_free(d->memory);
    mem_free(d);
}

size_t denoising_bytes(const denoising *d)
{
    size_t floats = (size_t)(1 + d->sampler->copies) * d->count;
    return sizeof *d + (size_t)d->steps * sizeof *d->timestep + floats * sizeof(float);
}

int64_t denoising_jitter_range(const denoising *d)
{
    int64_t stride = d->schedule->train_timesteps / d->steps;
    int64_t room = d->schedule->train_timesteps - (int64_t)d->timestep[0];
    return room < stride ? room : stride;
}

void denoising_begin(denoising *d, int64_t jitter, rng *r, size_t rng_count)
{
    assert(jitter >= 0 && jitter < denoising_jitter_range(d));
    assert(rng_count == 1 || rng_count == (size_t)d->size.batch);
    d->jitter = jitter;
    d->rng = r;
    d->rng_count = rng_count;
    if (d->memory) memset(d->memory, 0, (size_t)d->sampler->copies * d->count * sizeof *d->memory);
}

double denoising_timestep(const denoising *d, int64_t done)
{
    return d->timestep[done] + (double)d->jitter;
}

void denoising_latent(const denoising *d, int64_t done, const float *x, float *x_t)
{
    if (d->sampler->latent)
        d->sampler->latent(d, done, x, x_t);
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
