/* DDIM with eta = 0: from t to t' = t - stride, the stride being train_timesteps / steps,
 *
 *     x_t' = sqrt(a_t') clean + sqrt(1 - a_t') eps,       clean and eps as x_t and the model's output say
 *
 * No clipping. Source: Song et al., "Denoising diffusion implicit models" (2021), equation 12. */
#include <math.h>

#include "diffusion/sampler.h"

static int64_t stride_of(const denoising *d)
{
    return d->schedule->train_timesteps / d->steps;
}

/* As diffusers has it, a step goes down by the stride, and the model is told the next timestep of its list: with
 * linspace spacing that is one of less noise. */
static void levels(denoising *d)
{
    for (int64_t i = 1; i < d->steps; i++) d->level[i] = fmax(d->timestep[i - 1] - (double)stride_of(d), 0);
}

static void step(denoising *d, int64_t done, const float *output, float *x)
{
    const noise_schedule *s = d->schedule;
    int64_t t = (int64_t)denoising_timestep(d, done), previous = t - stride_of(d);
    float a = s->alpha_bar[t];
    float a_previous = previous >= 0 ? s->alpha_bar[previous] : s->final_alpha_bar;
    float signal = sqrtf(a), noise = sqrtf(1.0f - a);
    float signal_previous = sqrtf(a_previous), noise_previous = sqrtf(1.0f - a_previous);
    for (size_t i = 0; i < d->count; i++) {
        float clean, eps;
        schedule_split(s->prediction, signal, noise, x[i], output[i], &clean, &eps);
        x[i] = signal_previous * clean + noise_previous * eps;
    }
}

const sampler sampler_ddim = {
    .name = "ddim", .label = "DDIM", .spacing = SPACING_LEADING, .grid = GRID_WHOLE, .step = step, .levels = levels};
