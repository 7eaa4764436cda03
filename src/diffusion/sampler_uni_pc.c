/* UniPC of order 2 (bh2, predicting the clean latent): the step of solver.h, which the model's output at its end then
 * corrects, before the next step starts from there: with m0 and m1 the clean latents at its start and a step before,
 * and m that at its end,
 *
 *     x_t = (n / n0) x_0 - s (r - 1) (m0 + p (m1 - m0) / k + q (m - m0)),      k = -h0 / h
 *     p + q = b1,  k p + q = b2;      b1 = u / (r - 1),  b2 = 2 (u / g - 1/2) / (r - 1),  u = (r - 1) / g - 1,  g = -h
 *
 * In the first step, without m1, p = 0 and q = 1/2. Source: Zhao et al., "UniPC: a unified predictor-corrector
 * framework" (2023), algorithms 5 and 6, as diffusers' UniPCMultistepScheduler. */
#include "diffusion/sampler.h"
#include "diffusion/solver.h"

/* Weights of the correction, after `done` runs: of m1 - m0 and of m - m0. */
static void corrections(const denoising *d, int64_t done, double *of_before, double *of_now)
{
    const float *sigma = &d->sigma[done]; /* of the end; [-1] of the start */
    *of_before = 0;
    *of_now = 0.5;
    if (done < 2) return;
    const double g = log((double)sigma[0] / (double)sigma[-1]), less = expm1(g);
    const double k = log((double)sigma[-2] / (double)sigma[-1]) / g, u = less / g - 1;
    const double b1 = u / less, b2 = 2 * (u / g - 0.5) / less;
    const double p = (b1 - b2) / (1 - k);
    *of_before = p / k;
    *of_now = b1 - p;
}

static void step(denoising *d, int64_t done, const float *output, float *x)
{
    const float *sigma = &d->sigma[done];
    const double here = (double)sigma[0], next = (double)sigma[1], last = done ? (double)sigma[-1] : here;
    const float of_x = (float)(sigma_noise(next) / sigma_noise(here));
    const float of_clean = (float)(sigma_signal(next) * (1 - next / here)), ahead = (float)solver_ahead(d, done);
    const float again_x = (float)(sigma_noise(here) / sigma_noise(last));
    const float again_clean = (float)(sigma_signal(here) * (1 - here / last));
    float *from = d->memory, *m0 = from + d->count, *m1 = m0 + d->count;
    double of_before, of_now;
    corrections(d, done, &of_before, &of_now);
    const float p = (float)of_before, q = (float)of_now;
    for (size_t i = 0; i < d->count; i++) {
        const float m = solver_clean(d, done, x[i], output[i]);
        if (done > 0) x[i] = again_x * from[i] + again_clean * (m0[i] + p * (m1[i] - m0[i]) + q * (m - m0[i]));
        from[i] = x[i];
        m1[i] = m0[i];
        m0[i] = m;
        x[i] = of_x * x[i] + of_clean * (m + ahead * (m - m1[i]));
    }
}

const sampler sampler_uni_pc = {
    .name = "uni_pc", .label = "UniPC", .spacing = SPACING_LINSPACE, .grid = GRID_OPEN, .copies = 3, .step = step};
