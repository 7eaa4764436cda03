/* Linear multistep (Adams-Bashforth of order 4, or of as many steps as were made) in sigma's space: the slopes
 * (x - clean) / sigma of the last steps, a polynomial through them, its integral from sigma to the next,
 *
 *     x' = x + sum over k of slope_k * integral of the Lagrange polynomial that is 1 at sigma_k
 *
 * x is here clean + sigma slope, so that the newest slope counts with sigma more: where that is 4096, x is too large
 * for what is left of it after a step. The polynomials are of degree 3 at most, so that Gauss and Legendre's rule of
 * two points integrates them exactly. Source: Crowson's k-diffusion (sample_lms), as diffusers' LMSDiscreteScheduler.
 */
#include "diffusion/sampler.h"
#include "diffusion/sigmas.h"

enum { ORDER = 4 };

/* Lagrange's polynomial at tau: 1 at the sigma k steps ago, 0 at the other `order` last ones. */
static double lagrange(const float *now, int64_t order, int64_t k, double tau)
{
    double product = 1;
    for (int64_t i = 0; i < order; i++)
        if (i != k) product *= (tau - (double)now[-i]) / ((double)now[-k] - (double)now[-i]);
    return product;
}

static double integral(const float *now, int64_t order, int64_t k)
{
    const double middle = 0.5 * ((double)now[0] + (double)now[1]), half = 0.5 * ((double)now[1] - (double)now[0]);
    const double at = half / sqrt(3);
    return half * (lagrange(now, order, k, middle - at) + lagrange(now, order, k, middle + at));
}

static void step(denoising *d, int64_t done, const float *output, float *x)
{
    const float sigma = d->sigma[done];
    const int64_t order = done + 1 < ORDER ? done + 1 : ORDER;
    const float *slopes[ORDER];
    float share[ORDER];
    for (int64_t k = 0; k < order; k++) { /* k steps ago */
        slopes[k] = d->memory + (size_t)((done - k) % ORDER) * d->count;
        share[k] = (float)(integral(&d->sigma[done], order, k) + (k == 0 ? (double)sigma : 0));
    }
    float *now = d->memory + (size_t)(done % ORDER) * d->count;
    for (size_t i = 0; i < d->count; i++) {
        const float clean = sigma_clean(d->schedule->prediction, sigma, x[i], output[i]);
        now[i] = (x[i] - clean) / sigma;
        float sum = clean;
        for (int64_t k = 0; k < order; k++) sum += share[k] * slopes[k][i];
        x[i] = sum;
    }
}

const sampler sampler_lms = {
    .name = "lms", .label = "LMS", .spacing = SPACING_LINSPACE, .grid = GRID_BETWEEN, .copies = ORDER, .step = step};
