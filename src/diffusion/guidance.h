/* Classifier-free guidance: a U-Net that is asked with and without the prompt, in one batch.
 *
 *     output = u + scale (c - u)
 *
 * u is the prediction for the negative prompt (or none), c that for the prompt. With scale 1, u cancels and isn't made.
 * Where an interval of timesteps is given, the output is c outside of it: at the first steps guidance costs variety, at
 * the last it changes little (Kynkaanniemi et al., "Applying guidance in a limited interval", 2024).
 * Source: Ho and Salimans, "Classifier-free diffusion guidance" (2022). */
#ifndef LECO_DIFFUSION_GUIDANCE_H
#define LECO_DIFFUSION_GUIDANCE_H

#include "diffusion/denoiser.h"
#include "diffusion/sampler.h"

/* Batch of the denoiser that guides `pictures` latents at a time: twice as many, or as many at scale 1. */
int64_t guided_batch(int64_t pictures, float guidance_scale);

typedef struct guided {
    denoiser *denoiser; /* of batch guided_batch(pictures, scale): the unconditional half first */
    float scale;
    double from, end;      /* timesteps at which it guides: from the one to below the other; an end of 0: all */
    latent_size size;      /* of the pictures */
    float *input, *output; /* [denoiser batch, h, w, C] each; allocated by guided_create */
} guided;

leco_status guided_create(denoiser *n, float scale, guided *out, leco_error *err); /* borrows n */
void guided_free(guided *g);                                                       /* safe on a zeroed one */

/* What one picture is conditioned on; what both point to is borrowed while the denoiser runs. */
void guided_set_context(guided *g, int64_t picture, const conditioning *unconditional, const conditioning *conditional);

/* x [pictures,h,w,C] of the run d, denoised `done` steps -> one step further, in place. */
leco_status guided_step(guided *g, denoising *d, int64_t done, float *x, leco_error *err);

/* out = u + scale (c - u). `out` may be u or c. */
void guidance_apply(const float *unconditional, const float *conditional, float scale, float *out, size_t count);

#endif
