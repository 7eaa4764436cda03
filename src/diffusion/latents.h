/* Latents: the small pictures that diffusion happens in, [B,h,w,4] f32 here as in graphs. */
#ifndef LECO_DIFFUSION_LATENTS_H
#define LECO_DIFFUSION_LATENTS_H

#include "base/rng.h"
#include "graph/tensor.h"

enum { LARGEST_SIDE = 8192 }; /* of a picture, in pixels; as LECO_LARGEST_SIDE, which programs see */

typedef struct latent_size {
    int64_t batch, height, width, channels;
} latent_size;

size_t latent_count(latent_size s);  /* elements of all */
size_t latent_stride(latent_size s); /* elements of one */

/* Between PyTorch's [B,C,H,W] and ours, [B,H,W,C]. src and dst don't overlap. */
void latents_from_nchw(const float *src, float *dst, latent_size s);
void latents_to_nchw(const float *src, float *dst, latent_size s);

/* torch.randn([B,C,H,W]) in one draw, stored as [B,H,W,C]. scratch and dst hold latent_count floats each. */
void latents_draw(rng *r, float *scratch, float *dst, latent_size s);

#endif
