/* DDPM: each step draws from the posterior of the next timestep t', given x_t and the clean latent that the model's
 * output stands for,
 *
 *     x_t' = (sqrt(a_t') b clean + sqrt(a_t / a_t') (1 - a_t') x_t) / (1 - a_t) + sqrt(b (1 - a_t') / (1 - a_t)) noise
 *     b = 1 - a_t / a_t'
 *
 * a_t' being 1 behind the last timestep. At timestep 0 no noise is drawn. Source: Ho et al., "Denoising diffusion
 * probabilistic models" (2020), equations 6 and 7, on fewer timesteps as diffusers' DDPMScheduler. */
#include <math.h>

#include "diffusion/sampler.h"

static void step(denoising *d, int64_t done, const float *output, float *x)
{
    const noise_schedule *s = d->schedule;
    const int64_t t = (int64_t)denoising_timestep(d, done);
    const float a = s->alpha_bar[t];
    const float next = done + 1 < d->steps ? s->alpha_bar[(int64_t)denoising_timestep(d, done + 1)] : 1.0f;
    const float b = 1.0f - a / next, noise_of_x = 1.0f - a;
    const float of_clean = sqrtf(next) * b / noise_of_x, of_x = sqrtf(a / next) * (1.0f - next) / noise_of_x;
    const float spread = sqrtf(fmaxf((1.0f - next) / noise_of_x * b, 1e-20f));
    float *fresh = d->memory;
    if (t > 0) denoising_noise(d, fresh);
    for (size_t i = 0; i < d->count; i++) {
        float clean, eps;
        schedule_split(s->prediction, sqrtf(a), sqrtf(noise_of_x), x[i], output[i], &clean, &eps);
        x[i] = of_clean * clean + of_x * x[i];
        if (t > 0) x[i] += spread * fresh[i];
    }
}

const sampler sampler_ddpm = {
    .name = "ddpm", .label = "DDPM", .spacing = SPACING_LEADING, .grid = GRID_WHOLE, .copies = 1, .step = step};
