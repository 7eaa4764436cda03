/* Euler's method in sigma's space, without added noise: with x = x_t sqrt(1 + sigma^2),
 *
 *     x' = x + (sigma' - sigma) (x - clean) / sigma = clean + (x - clean) sigma' / sigma
 *
 * sigma' being the next one, 0 behind the last, and clean what x and the model's output say. Source: Karras et al.,
 * "Elucidating the design space of diffusion-based generative models" (2022), algorithm 1 without churn, as diffusers'
 * EulerDiscreteScheduler. (The second form is right where sigma is 4096, too.) */
#include "diffusion/sampler.h"
#include "diffusion/sigmas.h"

static void step(denoising *d, int64_t done, const float *output, float *x)
{
    const float sigma = d->sigma[done], left = d->sigma[done + 1] / sigma;
    for (size_t i = 0; i < d->count; i++) {
        const float clean = sigma_clean(d->schedule->prediction, sigma, x[i], output[i]);
        x[i] = clean + (x[i] - clean) * left;
    }
}

const sampler sampler_euler = {
    .name = "euler", .label = "Euler", .spacing = SPACING_LINSPACE, .grid = GRID_BETWEEN, .step = step};
