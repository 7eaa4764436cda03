/* The layers of a model that adapters can attach to: what each is, and lists of them.
 *
 * A list is made once per model and part, by building the part over blank weights, so that its names can't diverge from
 * the builder's. Whatever makes, loads or selects adapters goes by lists and never builds a model. */
#ifndef LECO_MODEL_LAYERS_H
#define LECO_MODEL_LAYERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* The modules that a model consists of (part.h has a row for each); anything else is PART_OTHER. */
typedef enum model_part {
    PART_UNET,
    PART_TEXT_ENCODER,
    PART_TEXT_ENCODER_2, /* of SDXL; not every model has one */
    PART_VAE,
    PART_COUNT,
    PART_OTHER = PART_COUNT
} model_part;

/* The block that a layer is part of, as diffusers and transformers name its class. */
typedef enum layer_class {
    LAYER_OTHER,          /* in none of those below: conv_in, conv_out, text_projection */
    LAYER_TIME,           /* TimestepEmbedding */
    LAYER_RESNET,         /* ResnetBlock2D, with its time projection and its shortcut */
    LAYER_SAMPLER,        /* Downsample2D and Upsample2D */
    LAYER_TRANSFORMER,    /* Transformer2DModel's own: proj_in and proj_out */
    LAYER_ATTN1,          /* in a Transformer2DModel: the attention of an image to itself */
    LAYER_ATTN2,          /* to the text */
    LAYER_FEED_FORWARD,   /* and FeedForward */
    LAYER_TEXT_ATTENTION, /* CLIPAttention */
    LAYER_TEXT_MLP,       /* CLIPMLP */
    LAYER_TOKENS,         /* the table of the text encoder's tokens */
    LAYER_NORMS           /* a norm, whatever block it is in: in lists of norms alone */
} layer_class;

typedef struct layer_info {
    model_part part;
    const char *path; /* "down_blocks.0.attentions.0.proj_in" */
    int64_t in, out;  /* channels */
    int kernel;       /* 1 or 3; 0 of the token table, whose `in` are its rows, and of norms, of which both are alike */
    bool is_conv;     /* stored as [out,in,k,k]; adapters to it are saved so, too */
    bool is_first;    /* of the first of two text encoders, which LoRA files tell from an only one */
    layer_class class;
} layer_info;

typedef struct layer_list {
    layer_info *layer; /* [count]; the paths are the list's */
    size_t count, capacity;
} layer_list;

void layer_list_free(layer_list *list); /* safe on a zeroed one */

struct model;                            /* model/model.h */
void model_free_layers(struct model *m); /* all lists that it has */

/* All linear and conv layers of a part, and the token table; the model's, valid as long as it is. In the U-Net's the
 * order is the one in which PyTorch registers them (it decides which module gets which initial values): those outside
 * of blocks, then down, up and mid blocks; within one, attentions, residual blocks, samplers; conv_out at last. In
 * others it is that of building. */
leco_status model_layers(struct model *m, model_part part, const layer_list **out, leco_error *err);
/* All norms of a part, in order of building. Nothing is trained on them, but files may have changes of them. */
leco_status model_norms(struct model *m, model_part part, const layer_list **out, leco_error *err);

/* The lists of all parts that adapters attach to; NULL for the others, and for those that the model lacks. */
typedef struct adapter_layers {
    const layer_list *part[PART_COUNT];
    const layer_list *norms[PART_COUNT];
} adapter_layers;
leco_status model_adapter_layers(struct model *m, adapter_layers *out, leco_error *err);

#endif
