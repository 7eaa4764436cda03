/* Pictures to latents: the VAE's encoder, planned, then ready to run for one batch and size. */
#ifndef LECO_DIFFUSION_ENCODER_H
#define LECO_DIFFUSION_ENCODER_H

#include "diffusion/latents.h"
#include "diffusion/runner.h"
#include "model/model.h"

typedef struct encoder encoder;

/* Builds over m's VAE weights (mapped by the caller) and plans; takes no memory. size: of the pictures, in pixels,
 * whose sides are multiples of the VAE's factor; channels are filled in. d and m outlive the encoder. On failure *out
 * is NULL.
 */
leco_status encoder_plan(const device *d, const model *m, latent_size size, encoder **out, leco_error *err);
/* Takes what was planned; m's weights are loaded now. */
leco_status encoder_prepare(encoder *n, leco_error *err);
void encoder_destroy(encoder *n); /* NULL is fine */

latent_size encoder_latents(const encoder *n); /* the size of what comes out */
size_t encoder_arena_bytes(const encoder *n);  /* as planned, both */
size_t encoder_bytes(const encoder *n);        /* of the graph and the session */

/* pictures [B,H,W,3] in [-1,1] -> the distribution of their latents: mean [B,h,w,C], not multiplied by the scaling
 * factor yet, and logvar [B,h,w,C] (may be NULL), clamped to [VAE_LOGVAR_MIN, VAE_LOGVAR_MAX]. */
leco_status encoder_run(encoder *n, const float *pictures, float *mean, float *logvar, leco_error *err);

#endif
