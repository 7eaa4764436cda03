/* DPM-Solver++ (2M): the step of solver.h, with the clean latent of the step before. Of the variant with noise (SDE),
 *
 *     x_t' = (n' / n) r x_t + s' (1 - r^2) D + n' sqrt(1 - r^2) noise
 *
 * Source: Lu et al., "DPM-Solver++" (2022), algorithm 2, and equation 19 of its appendix for the variant; as diffusers'
 * DPMSolverMultistepScheduler (dpmsolver++ and sde-dpmsolver++, midpoint, order 2). */
#include "diffusion/sampler.h"
#include "diffusion/solver.h"

typedef struct weights_of_step {
    float x, clean, noise;
} weights_of_step;

static void advance(denoising *d, int64_t done, weights_of_step w, const float *fresh, const float *output, float *x)
{
    const float ahead = (float)solver_ahead(d, done);
    float *before = d->memory; /* the clean latent of the step before */
    for (size_t i = 0; i < d->count; i++) {
        const float clean = solver_clean(d, done, x[i], output[i]);
        x[i] = w.x * x[i] + w.clean * (clean + ahead * (clean - before[i]));
        if (fresh) x[i] += w.noise * fresh[i];
        before[i] = clean;
    }
}

static void step(denoising *d, int64_t done, const float *output, float *x)
{
    const double sigma = (double)d->sigma[done], next = (double)d->sigma[done + 1], r = next / sigma;
    const weights_of_step w = {.x = (float)(sigma_noise(next) / sigma_noise(sigma)),
                               .clean = (float)(sigma_signal(next) * (1 - r))};
    advance(d, done, w, NULL, output, x);
}

static void step_sde(denoising *d, int64_t done, const float *output, float *x)
{
    const double sigma = (double)d->sigma[done], next = (double)d->sigma[done + 1], r = next / sigma;
    const weights_of_step w = {.x = (float)(sigma_noise(next) / sigma_noise(sigma) * r),
                               .clean = (float)(sigma_signal(next) * (1 - r * r)),
                               .noise = (float)(sigma_noise(next) * sqrt(1 - r * r))};
    float *fresh = d->memory + d->count;
    denoising_noise(d, fresh);
    advance(d, done, w, fresh, output, x);
}

const sampler sampler_dpmpp_2m = {
    .name = "dpmpp_2m", .label = "DPM++ 2M", .spacing = SPACING_LINSPACE, .grid = GRID_OPEN, .copies = 1, .step = step};

const sampler sampler_dpmpp_2m_sde = {.name = "dpmpp_2m_sde",
                                      .label = "DPM++ 2M SDE",
                                      .spacing = SPACING_LINSPACE,
                                      .grid = GRID_OPEN,
                                      .copies = 2,
                                      .step = step_sde};
