/* Latents to pictures: the VAE's decoder, ready to run for one batch and size. */
#ifndef LECO_DIFFUSION_DECODER_H
#define LECO_DIFFUSION_DECODER_H

#include "diffusion/latents.h"
#include "diffusion/runner.h"
#include "model/model.h"

typedef struct decoder decoder;

/* Builds over m's VAE weights (mapped by the caller) and plans; takes no memory. tile: above 0, no more than so many
 * latents along a side are decoded at once, and tiles, a fourth of which lies over the next one, are blended: that
 * takes less memory, but norms see their tile only, so that pictures differ a little. d and m outlive the decoder. On
 * failure *out is NULL. */
leco_status decoder_plan(const device *d, const model *m, latent_size size, int64_t tile, decoder **out,
                         leco_error *err);
/* Takes what was planned; the weights are loaded now. */
leco_status decoder_prepare(decoder *n, leco_error *err);
void decoder_destroy(decoder *n); /* NULL is fine */

size_t decoder_arena_bytes(const decoder *n); /* as planned, both */
size_t decoder_bytes(const decoder *n);       /* of the graph, the session, and what goes in and out */

/* latents [B,h,w,C] as the U-Net has them -> rgb [B,H,W,3], 8 bits: round(255 clamp(x / 2 + 1/2)), as diffusers. */
leco_status decoder_run(decoder *n, const float *latents, uint8_t *rgb, leco_error *err);

#endif
