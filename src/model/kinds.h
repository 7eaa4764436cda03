/* Kinds of adapter: what each puts on a layer, a row each. A new kind is a file like lora.c and a row in kinds.c.
 *
 * A module has as many params as its kind's row lists. Its tensors in a file are named by layer and suffix
 * ("lora_unet_mid_block_attentions_0_proj_in" ".lora_down.weight"), and all kinds may have an ".alpha" beside them.
 * Which kind a file's module is shows in its suffixes: the row of which it has all, and no others. So a kind with
 * optional tensors is several rows.
 *
 * Not a kind is *which* layers are trained: lierla, c3lier and the training methods select layers (model/selection.h),
 * and any kind goes on those that it fits. Token embeddings will be a kind that attaches to a table: the text encoder
 * lists its token table as a layer of a class of its own (in: rows, out: width), and asks for its adapters with the ids
 * in place of x; what names its tensors (emb_params) is then asked of the row, as no layer's key is in such a file. */
#ifndef LECO_MODEL_KINDS_H
#define LECO_MODEL_KINDS_H

#include "model/trainable.h"

#define KIND_MAX_PARAMS 8

typedef struct kind_shape {
    shape of_param; /* as the graph takes it */
    shape in_file;  /* as files have it: the same values with other dimensions, such as the 1x1 of a convolution */
} kind_shape;

struct trainable_kind {
    const char *name;         /* in configs: "lora" */
    const char *file_module;  /* ss_network_module: "networks.lora" */
    const char *architecture; /* what follows the model's in modelspec.architecture: "lora" */
    struct {
        const char *suffix; /* in files; NULL ends the list */
        bool multiplied;    /* a loaded one's value is multiplier times the file's */
    } param[KIND_MAX_PARAMS + 1];
    int rank_param, rank_dim; /* this dimension (in files) of this param is the rank */

    /* Can it be trained on this layer? (Files may have it on any.) */
    bool (*fits)(const layer_info *layer);
    /* The rank that a layer gets where the user asked for `asked`. */
    int64_t (*rank)(const layer_info *layer, int64_t asked);
    void (*shapes)(const layer_info *layer, int64_t rank, kind_shape out[KIND_MAX_PARAMS]);
    /* Draws the values that training starts with; they are 0 before. `draw` has room for the largest param. */
    void (*initialise)(trainable_module *m, rng *r, float *draw);
    /* at->y + what the module adds to it. */
    tensor *(*apply)(const trainable_module *m, const layer_site *at, float multiplier);
};

extern const trainable_kind *const trainable_kinds[]; /* ends with NULL */

extern const trainable_kind kind_lora, kind_loha;

#endif
