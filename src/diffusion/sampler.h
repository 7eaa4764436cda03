/* Drawing latents: DDIM with classifier-free guidance over a denoiser. */
#ifndef LECO_DIFFUSION_SAMPLER_H
#define LECO_DIFFUSION_SAMPLER_H

#include "diffusion/denoiser.h"
#include "diffusion/schedule.h"

/* Batch of the denoiser that guides `pictures` latents at a time: twice as many, or as many where the scale is 1 and
 * the unconditional prediction would cancel. */
int64_t guided_batch(int64_t pictures, float guidance_scale);

typedef struct guided {
    denoiser *denoiser; /* of batch guided_batch(pictures, scale): the unconditional half first */
    float scale;
    float *input, *output; /* [denoiser batch, h, w, C] each; allocated by guided_create */
} guided;

leco_status guided_create(denoiser *n, float scale, guided *out, leco_error *err); /* borrows n */
void guided_free(guided *g);                                                       /* safe on a zeroed one */

/* The texts of one picture; both borrowed while the denoiser runs. */
void guided_set_context(guided *g, int64_t picture, const float *unconditional, const float *conditional);

/* x [pictures,h,w,C], denoised `done` steps -> one step further, in place. */
void guided_step(guided *g, const ddim *walk, int64_t done, float *x);

#endif
