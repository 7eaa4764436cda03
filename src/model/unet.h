/* UNet2DConditionModel: the noise predictor of Stable Diffusion 1, 2 and XL.
 *
 * Source: Rombach et al., "High-resolution image synthesis with latent diffusion models" (2022), section 3; diffusers'
 * UNet2DConditionModel, whose config.json and module names it uses. */
#ifndef LECO_MODEL_UNET_H
#define LECO_MODEL_UNET_H

#include "model/module.h"

#define UNET_MAX_LEVELS 8
#define UNET_TIME_IDS 6 /* original height, width, crop top, left, target height, width */

typedef struct unet_level {
    int64_t channels;
    int64_t heads, layers, transformer_layers, cross_attention_dim;
    bool down_attention, up_attention; /* CrossAttnDownBlock2D; the matching up block is CrossAttnUpBlock2D */
} unet_level;

typedef struct unet_config {
    int64_t sample_height, sample_width; /* latent pixels it was trained at: a default for the picture size */
    int64_t in_channels, out_channels;
    int64_t level_count;
    unet_level level[UNET_MAX_LEVELS]; /* from the highest resolution to the lowest */
    int norm_groups;
    float norm_eps;
    bool flip_sin_to_cos;
    float freq_shift;
    bool use_linear_projection;
    int64_t addition_time_embed_dim;  /* 0: no added conditions; otherwise addition_embed_type is text_time */
    int64_t addition_embed_input_dim; /* projection_class_embeddings_input_dim */
} unet_config;

/* Reads FOLDER/config.json. What leco can't do is LECO_UNSUPPORTED, naming file, key and value. */
leco_status unet_config_read(const char *folder, unet_config *config, leco_error *err);

/* Width of the conditioning (encoder_hidden_states) and of the pooled text embedding (0: not used). */
int64_t unet_context_width(const unet_config *config);
int64_t unet_pooled_width(const unet_config *config);

typedef struct unet_size {
    int64_t batch, height, width, tokens; /* height and width in latent pixels */
} unet_size;

typedef struct unet {
    tensor *sample;                  /* input [B,h,w,in_channels] A */
    tensor *timestep;                /* input [B] E */
    tensor *context;                 /* [B,T,D] A: encoder_hidden_states; an input unless texts were given */
    tensor *pooled;                  /* [B,P] A: text_embeds, likewise; NULL without added conditions */
    tensor *time_ids[UNET_TIME_IDS]; /* inputs [B] E, one a column of time_ids [B,6]; NULL likewise */
    tensor *noise;                   /* [B,h,w,out_channels] A; the caller marks it as a result where it reads it */
} unet;

/* What text encoders in the same graph make, in place of inputs. */
typedef struct unet_texts {
    tensor *states; /* [B,T,D] A */
    tensor *pooled; /* [B,P] A; NULL: an input, where there are added conditions */
} unet_texts;

/* Builds the U-Net into c->g (part PART_UNET), with its inputs. texts may be NULL. */
unet unet_build(nn *c, const unet_config *config, unet_size size, const unet_texts *texts);

#endif
