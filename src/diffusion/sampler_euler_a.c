/* Euler's method with ancestral noise: a step goes further down than the next sigma, and noise makes up for it,
 *
 *     x' = clean + (x - clean) sigma'^2 / sigma^2 + up noise,      up^2 = sigma'^2 (sigma^2 - sigma'^2) / sigma^2
 *
 * Source: Song et al., "Score-based generative modeling through stochastic differential equations" (2021), appendix F,
 * in sigma's space, as Crowson's k-diffusion and diffusers' EulerAncestralDiscreteScheduler have it. */
#include "diffusion/sampler.h"
#include "diffusion/sigmas.h"

static void step(denoising *d, int64_t done, const float *output, float *x)
{
    const float sigma = d->sigma[done], next = d->sigma[done + 1];
    const float left = next / sigma * (next / sigma), up = next * sqrtf(fmaxf(1.0f - left, 0));
    float *fresh = d->memory;
    denoising_noise(d, fresh);
    for (size_t i = 0; i < d->count; i++) {
        const float clean = sigma_clean(d->schedule->prediction, sigma, x[i], output[i]);
        x[i] = clean + (x[i] - clean) * left + up * fresh[i];
    }
}

const sampler sampler_euler_a = {.name = "euler_a",
                                 .label = "Euler a",
                                 .spacing = SPACING_LINSPACE,
                                 .grid = GRID_BETWEEN,
                                 .copies = 1,
                                 .step = step};
