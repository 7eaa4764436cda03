/* The step of second order that the multistep solvers share. Between x_t and the next x_t' with less noise,
 *
 *     x_t' = (n' / n) x_t - s' (r - 1) D,      r = sigma' / sigma = e^-h
 *
 * with s and n the signal and the noise of x_t, h the step in log(s / n), and D the clean latent, extrapolated from
 * that of this step and that of the one before to the middle of the step: m0 + (m0 - m1) h / (2 h0). Source: Lu et al.,
 * "DPM-Solver++" (2022), algorithm 2. */
#ifndef LECO_DIFFUSION_SOLVER_H
#define LECO_DIFFUSION_SOLVER_H

#include "diffusion/sampler.h"
#include "diffusion/sigmas.h"

/* What the model's output says of the clean latent, at x_t after `done` runs. */
static inline float solver_clean(const denoising *d, int64_t done, float x, float output)
{
    const double sigma = (double)d->sigma[done];
    float clean, eps;
    schedule_split(d->schedule->prediction, (float)sigma_signal(sigma), (float)sigma_noise(sigma), x, output, &clean,
                   &eps);
    return clean;
}

/* How much of m0 - m1 the extrapolation adds: none in the first step and, the sigma behind it being 0, the last. */
static inline double solver_ahead(const denoising *d, int64_t done)
{
    if (done == 0 || done + 1 == d->steps) return 0;
    const float *sigma = &d->sigma[done];
    return 0.5 * log((double)sigma[0] / (double)sigma[1]) / log((double)sigma[-1] / (double)sigma[0]);
}

#endif
