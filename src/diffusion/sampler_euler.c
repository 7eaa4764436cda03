/* Euler's method in sigma's space, without added noise: with sigma_t = sqrt((1 - a_t) / a_t) and x = x_t / sqrt(a_t),
 *
 *     x' = x + (sigma_t' - sigma_t) (x - clean) / sigma_t,      t' the next timestep; sigma is 0 behind the last one
 *
 * clean being what x and the model's output say. Source: Karras et al., "Elucidating the design space of
 * diffusion-based generative models" (2022), algorithm 1 without churn, on the timesteps of diffusers'
 * EulerDiscreteScheduler with leading spacing. */
#include <math.h>

#include "diffusion/sampler.h"

static float sigma_at(const denoising *d, int64_t done)
{
    if (done == d->steps) return 0.0f;
    float a = d->schedule->alpha_bar[(int64_t)denoising_timestep(d, done)];
    return sqrtf((1.0f - a) / a);
}

/* 1 / sqrt(a). */
static float scale_of(float sigma)
{
    return sqrtf(sigma * sigma + 1.0f);
}

static leco_status start(denoising *d, leco_error *err)
{
    LECO_TRY(schedule_leading(d->schedule, d->steps, d->timestep, err));
    d->noise_scale = scale_of(sigma_at(d, 0));
    return LECO_OK;
}

/* A run with jitter starts at more noise than noise_scale, which is that of a run without, says. */
static float scale_at(const denoising *d, int64_t done)
{
    return done == 0 ? d->noise_scale : scale_of(sigma_at(d, done));
}

static void step(denoising *d, int64_t done, const float *output, float *x)
{
    const float sigma = sigma_at(d, done), along = sigma_at(d, done + 1) - sigma;
    const float more = scale_of(sigma) / scale_at(d, done);
    const float of_output = -sigma / scale_of(sigma), of_x = sigma * sigma + 1.0f;
    const bool v = d->schedule->prediction == PREDICT_V;
    for (size_t i = 0; i < d->count; i++) {
        float from = x[i] * more;
        float clean = v ? output[i] * of_output + from / of_x : from - sigma * output[i];
        x[i] = from + (from - clean) / sigma * along;
    }
}

static void latent(const denoising *d, int64_t done, const float *x, float *x_t)
{
    const float scale = scale_at(d, done);
    for (size_t i = 0; i < d->count; i++) x_t[i] = x[i] / scale;
}

const sampler sampler_euler = {.name = "euler", .label = "Euler", .start = start, .step = step, .latent = latent};
