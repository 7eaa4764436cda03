/* AutoencoderKL: pictures to latents and back.
 *
 * Source: Rombach et al., "High-resolution image synthesis with latent diffusion models" (2022), appendix G; diffusers'
 * AutoencoderKL, whose config.json and module names it uses. */
#ifndef LECO_MODEL_VAE_H
#define LECO_MODEL_VAE_H

#include "model/module.h"

#define VAE_MAX_LEVELS 8

typedef struct vae_config {
    int64_t in_channels, out_channels, latent_channels;
    int64_t level_count;
    int64_t channels[VAE_MAX_LEVELS]; /* from the picture's resolution down */
    int64_t layers;
    int norm_groups;
    bool quant_conv, post_quant_conv;
    bool mid_attention;
    float scaling_factor;
} vae_config;

/* That of all released Stable Diffusions, which differ by this factor. */
#define VAE_RELEASED(factor)                                                                                           \
    {                                                                                                                  \
        .in_channels = 3, .out_channels = 3, .latent_channels = 4, .level_count = 4, .channels = {128, 256, 512, 512}, \
        .layers = 2, .norm_groups = 32, .quant_conv = true, .post_quant_conv = true, .mid_attention = true,            \
        .scaling_factor = factor                                                                                       \
    }

/* Reads FOLDER/config.json. What leco can't do is LECO_UNSUPPORTED, naming file, key and value. */
leco_status vae_config_read(const char *folder, vae_config *config, leco_error *err);

/* Picture pixels to a latent pixel: 2^(level_count - 1). */
int64_t vae_factor(const vae_config *config);

typedef struct vae_encoder {
    tensor *sample; /* input [B,H,W,3] A in [-1,1] */
    tensor *mean;   /* result [B,h,w,latent_channels] A, unscaled: multiply by scaling_factor for the U-Net */
    tensor *logvar; /* result, the same shape: clamp to [-30,20] (VAE_LOGVAR_MIN, _MAX) before use */
} vae_encoder;

#define VAE_LOGVAR_MIN (-30.0f)
#define VAE_LOGVAR_MAX 20.0f

typedef struct vae_decoder {
    tensor *latents; /* input [B,h,w,latent_channels] A, unscaled: the U-Net's divided by scaling_factor */
    tensor *sample;  /* result [B,H,W,3] A, about [-1,1], not clamped */
} vae_decoder;

/* Build the halves into c->g (part PART_VAE) with their inputs and results. Sizes of the picture are multiples of
 * vae_factor for the encoder; sizes of the latents are given to the decoder. */
vae_encoder vae_encoder_build(nn *c, const vae_config *config, int64_t batch, int64_t height, int64_t width);
vae_decoder vae_decoder_build(nn *c, const vae_config *config, int64_t batch, int64_t height, int64_t width);

#endif
