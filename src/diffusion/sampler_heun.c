/* Heun's method in sigma's space: Euler's step, and the same step again with the mean of the slopes at both of its
 * ends, for which the model is run a second time; the last step, to sigma 0, is Euler's,
 *
 *     x~ = x + (sigma' - sigma) slope(x, sigma),  x' = x + (sigma' - sigma) (slope(x, sigma) + slope(x~, sigma')) / 2
 *
 * with slope = (x - clean) / sigma; here as x~ = clean + sigma' slope and x' = x~ + (sigma' - sigma) times half the
 * slopes' difference: where sigma is 4096, x is too large for what is left of it after a step. N steps are 2N - 1 runs
 * of the model; after each of them x has the noise of the sigma that comes next. Source: Karras et al., "Elucidating
 * the design space of diffusion-based generative models" (2022), algorithm 1 without churn, as diffusers'
 * HeunDiscreteScheduler. */
#include "diffusion/sampler.h"
#include "diffusion/sigmas.h"

static void step(denoising *d, int64_t done, const float *output, float *x)
{
    const float sigma = d->sigma[done];
    float *slope = d->memory;
    for (size_t i = 0; i < d->count; i++) {
        const float clean = sigma_clean(d->schedule->prediction, sigma, x[i], output[i]);
        const float here = (x[i] - clean) / sigma;
        if (done % 2 == 0) { /* the step's first run, or the only one of the last */
            slope[i] = here;
            x[i] = clean + d->sigma[done + 1] * here;
        } else {
            x[i] += (sigma - d->sigma[done - 1]) * (here - slope[i]) / 2;
        }
    }
}

const sampler sampler_heun = {.name = "heun",
                              .label = "Heun",
                              .spacing = SPACING_LINSPACE,
                              .grid = GRID_BETWEEN,
                              .twice = true,
                              .copies = 1,
                              .step = step};
