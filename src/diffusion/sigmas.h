/* What samplers that step from sigma to sigma share: sigma = sqrt((1 - a) / a). */
#ifndef LECO_DIFFUSION_SIGMAS_H
#define LECO_DIFFUSION_SIGMAS_H

#include <math.h>

#include "diffusion/schedule.h"

/* The clean latent that the model's output stands for at x = x_t sqrt(1 + sigma^2), which is clean + sigma noise. */
static inline float sigma_clean(prediction p, float sigma, float x, float output)
{
    if (p == PREDICT_EPSILON) return x - sigma * output;
    const float scale = sigma * sigma + 1.0f;
    return output * (-sigma / sqrtf(scale)) + x / scale;
}

/* The signal and the noise of x_t: sqrt(a) and sqrt(1 - a). */
static inline double sigma_signal(double sigma)
{
    return 1 / sqrt(sigma * sigma + 1);
}

static inline double sigma_noise(double sigma)
{
    return sigma * sigma_signal(sigma);
}

#endif
