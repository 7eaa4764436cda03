/* Checkpoints in one file, under the names of the original code (CompVis, Stability AI): "model.diffusion_model.",
 * "cond_stage_model.", "first_stage_model.". What they are follows from names and shapes of their tensors; configs that
 * shapes don't tell are those of the families' releases. Source: diffusers' convert_from_ckpt and single_file_utils,
 * for which names stand for which. */
#ifndef LECO_MODEL_CHECKPOINT_H
#define LECO_MODEL_CHECKPOINT_H

#include "format/safetensors.h"
#include "model/model.h"

/* The text encoder of Stable Diffusion 2, whose last layer isn't used. */
enum { OPEN_CLIP_H_WIDTH = 1024, OPEN_CLIP_H_LAYERS = 24 };

/* Does the file hold one, as far as the names of its tensors tell? */
bool checkpoint_is(const safetensors *file);

/* Takes configs and noise schedule into m. Refused by name: refiners, models for inpainting and the like, of another
 * kind of U-Net, or without a part; only the VAE may lack (m->lacks_vae). What the file doesn't say of its prediction
 * is the family's: epsilon of Stable Diffusion 1, v of 2. */
leco_status checkpoint_read(const safetensors *file, model *m, leco_error *err);

/* The same of a VAE in a file of its own, whose names may lack "first_stage_model."; m's U-Net is known. */
leco_status checkpoint_read_vae(const safetensors *file, model *m, leco_error *err);

/* Of a model without a VAE, whose U-Net is known: the config is that of all released ones, but for the latents. */
void checkpoint_lack_vae(model *m);

/* Is it a VAE alone, under either names? */
bool checkpoint_is_vae(const safetensors *file);

/* The tokenizer of the family's (first) text encoder: CLIP's. */
leco_status checkpoint_tokenizer(const model *m, tokenizer **out, leco_error *err);

/* A part's weights; the file is borrowed. */
leco_status checkpoint_weights(const safetensors *file, const model *m, model_part part, weights **out,
                               leco_error *err);

/* ---- names (checkpoint_names.c) ---- */

/* Which rows of a tensor of the file are a tensor of the part, and under which name. */
typedef struct checkpoint_view {
    char name[192];
    int64_t third;   /* of a product of three (query, key and value above each other): which one, or -1: all of it */
    bool transposed; /* [in,out] where the part wants [out,in] */
} checkpoint_view;

enum { CHECKPOINT_MOST_VIEWS = 3 };

/* How the original names count: levels of the U-Net and of the VAE, residual blocks a level. */
typedef struct checkpoint_depths {
    int64_t unet_layers, vae_levels;
    bool up_attention[UNET_MAX_LEVELS]; /* has up_blocks.i attention? */
    bool two_texts;                     /* text encoders: SDXL's; else one, ... */
    bool open_clip;                     /* ... under OpenCLIP's names (Stable Diffusion 2) */
    bool bare_vae;                      /* the VAE's begin without "first_stage_model." */
} checkpoint_depths;

checkpoint_depths checkpoint_depths_of(const model *m);

/* What the tensor called so is of a part: the count of its views; 0: nothing. */
int checkpoint_views(const checkpoint_depths *d, model_part part, const char *original,
                     checkpoint_view out[CHECKPOINT_MOST_VIEWS]);

/* The other way: where a tensor of a part is in a checkpoint. */
typedef struct checkpoint_place {
    char name[192];
    int64_t third;   /* as of checkpoint_view */
    bool transposed; /* likewise */
    bool pixel;      /* a matrix is stored as a 1x1 convolution */
} checkpoint_place;
bool checkpoint_place_of(const checkpoint_depths *d, model_part part, const char *name, checkpoint_place *out);

/* Of the U-Net alone, without "model.diffusion_model.", and of a layer's path, too ("down_blocks.0.resnets.1.conv1"),
 * where an underscore is as good as a point. */
bool checkpoint_unet_path(const checkpoint_depths *d, const char *path, char out[192]);

#endif
