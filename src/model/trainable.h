/* Adapters: LoRA on the linear and convolution layers of the U-Net and the text encoder.
 *
 * A layer's output becomes  y = W x + multiplier * (alpha / rank) * up (down x),  down [rank,in], up [out,rank]; on a
 * 3x3 convolution down is one, too.
 * Source: Hu et al., "LoRA: low-rank adaptation of large language models" (2022); file keys and metadata as kohya's
 * sd-scripts write them. */
#ifndef LECO_MODEL_ADAPTER_H
#define LECO_MODEL_ADAPTER_H

#include "base/rng.h"
#include "model/module.h"
#include "model/text_encoder.h"
#include "model/unet.h"

typedef struct lora_module {
    model_part part;
    const char *path; /* "down_blocks.0.attentions.0.proj_in" */
    int64_t in, out, rank;
    float alpha;
    int kernel;         /* of the layer: 1, or 3 (from files only, not trained) */
    bool is_conv;       /* saved as [rank,in,k,k] and [out,rank,1,1] */
    param down;         /* [rank,in]; value is NULL where kernel is 3 */
    weight down_kernel; /* [rank,in,3,3] where kernel is 3 */
    param up;           /* [out,rank] */
    void *up_loaded;    /* up as in the file, up.value being the multiplier times it; NULL in a trainable LoRA */
} lora_module;

typedef struct lora lora;

/* Which layers a LoRA takes. */
typedef enum lora_type { LORA_LIERLA } lora_type; /* Linear and 1x1 conv inside Transformer2DModels */
typedef enum lora_layers {
    LORA_FULL,         /* all of them */
    LORA_SELFATTN,     /* attn1 only */
    LORA_XATTN,        /* attn2 only */
    LORA_XATTN_STRICT, /* attn2.to_k and attn2.to_v only */
    LORA_NOXATTN,      /* all but attn2 */
    LORA_INNOXATTN     /* all but attn1 */
} lora_layers;

/* "lierla"; "full", "selfattn", "xattn", "xattn-strict", "noxattn", "innoxattn". An unknown name is LECO_INVALID. */
leco_status lora_type_parse(const char *name, lora_type *out, leco_error *err);
leco_status lora_layers_parse(const char *name, lora_layers *out, leco_error *err);

typedef struct lora_options {
    lora_type type;
    lora_layers layers;
    int64_t rank; /* a convolution with fewer channels, in or out, gets as much as these */
    float alpha;
    dtype exact; /* DTYPE_F32, or DTYPE_F64 for checks with the reference backend */
} lora_options;

/* A trainable LoRA (value and grad) on the U-Net. Initialised as PyTorch does in P's order: for each module three
 * uniform draws from r (RNG_CPU): the default of down, that of up, and the kaiming-uniform of down that is kept; up is
 * zero. */
leco_status lora_create(const unet_config *config, const lora_options *options, rng *r, lora **out, leco_error *err);

/* Loads a file for use at multiplier 1 (not trained). Keys: lora_unet_* of diffusers module names, lora_te_* or, for
 * the same, lora_te1_*. A layer that the model doesn't have, or of another shape, is LECO_INVALID "... is for another
 * model", but text layers beyond the model's last are left out, with one warning: models with clip skip built in lack
 * them. alpha may be of any integer or floating type; a missing one, or 0, counts as rank. Anything else that the file
 * holds is LECO_UNSUPPORTED, naming it: nothing is left out unsaid. text may be NULL (then lora_te* keys are refused).
 */
leco_status lora_load(const char *path, const unet_config *unet, const text_config *text, dtype exact, lora **out,
                      leco_error *err);
/* Copies the values of a file into a LoRA that has the same modules, ranks and alphas (resume). */
leco_status lora_load_values(lora *l, const char *path, leco_error *err);

void lora_destroy(lora *l); /* NULL is fine */

size_t lora_module_count(const lora *l);
lora_module *lora_module_at(lora *l, size_t index); /* in order of creation */
/* The params in order: down, up of each module. */
size_t lora_param_count(const lora *l);
param *lora_param_at(lora *l, size_t index);
int64_t lora_value_count(const lora *l); /* elements of all params */

/* Sets a loaded LoRA's weight: any number, also negative. Takes effect at the next run of graphs already built. */
void lora_set_multiplier(lora *l, float multiplier);

/* What a graph is built with: several LoRAs sum. `multiplier` is built into the graph (a slider trains the same LoRA at
 * +1 and -1 in two graphs); 1 where lora_set_multiplier is to decide. */
typedef struct adapter_use {
    lora *lora;
    float multiplier;
} adapter_use;

struct adapter_set {
    const adapter_use *use;
    size_t count;
};

/* For module.c: y [..,out] + the products of all adapters on this layer, whose input is x [..,in]. stride and pad are
 * those of a convolution of more than 1x1. */
tensor *adapters_apply(const adapter_set *set, graph *g, model_part part, const char *path, tensor *x, tensor *y,
                       int stride, const int pad[4]);

/* What a saved file says about itself; NULL members are left out. */
typedef struct lora_metadata {
    const char *output_name;        /* ss_output_name and modelspec.title */
    const char *comment;            /* ss_training_comment */
    const char *base_model_version; /* ss_base_model_version: "sd_v1", "sd_v2_v", ... */
    const char *architecture;       /* modelspec.architecture: "stable-diffusion-v1/lora", ... */
    const char *resolution;         /* "512x512" */
    const char *prediction_type;    /* "epsilon" or "v" */
    const char *date;               /* ISO 8601 */
    const char *const (*extra)[2];  /* further key, value pairs */
    size_t extra_count;
} lora_metadata;

/* Fills version, architecture and prediction type from what the U-Net is: added conditions make it SDXL, linear
 * projections SD2, else it is SD1. */
void lora_metadata_describe(lora_metadata *m, const unet_config *config, bool v_prediction);

/* Writes the file atomically, tensors as `type` (F32, F16, BF16). A loaded LoRA is written at multiplier 1. */
leco_status lora_save(const lora *l, const char *path, dtype type, const lora_metadata *metadata, leco_error *err);

#endif
