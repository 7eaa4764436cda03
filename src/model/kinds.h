/* Kinds of adapter: what each puts on a layer, a row each. A new kind is a file like lora.c and a row in kinds.c.
 *
 * A module has as many params as its kind's row lists. Its tensors in a file are named by layer and suffix
 * ("lora_unet_mid_block_attentions_0_proj_in" ".lora_down.weight"), and all kinds may have an ".alpha" beside them.
 * Which kind a file's module is shows in its suffixes: the row of which it has all, and no others. So a kind with
 * optional tensors is several rows.
 *
 * Not a kind is *which* layers are trained: lierla, c3lier and the training methods select layers (model/selection.h),
 * and any kind goes on those that it fits. An embedding attaches to the token table, which the text encoder lists as a
 * layer of a class of its own (in: rows, out: width), and is asked with the ids in place of x. */
#ifndef LECO_MODEL_KINDS_H
#define LECO_MODEL_KINDS_H

#include "model/trainable.h"

#define KIND_MAX_PARAMS 8

typedef struct kind_shape {
    shape of_param; /* as the graph takes it */
    shape in_file;  /* as files have it: the same values with other dimensions, such as the 1x1 of a convolution */
} kind_shape;

/* What first values are made of. */
typedef struct kind_start {
    struct model *model; /* that is trained; an embedding reads its token table */
    rng *rng;
    float *draw; /* room for the largest param */
} kind_start;

struct trainable_kind {
    const char *name;         /* in configs: "lora" */
    const char *file_module;  /* ss_network_module: "networks.lora"; NULL: its files say none, nor ranks and alphas */
    const char *architecture; /* what follows the model's in modelspec.architecture: "lora" */
    struct {
        const char *suffix; /* in files; NULL ends the list */
        bool multiplied;    /* a loaded one's value is multiplier times the file's */
    } param[KIND_MAX_PARAMS + 1];
    int rank_param, rank_dim; /* this dimension (in files) of this param is the rank */
    /* What it adds to the layer's weight [out, in k k], over alpha / rank: the product of the params `left` [out,rank]
     * and `right` [rank, in k k]; or that of each of two pairs, multiplied element by element. 0: it can't be said so.
     */
    int products;
    struct {
        int left, right;
    } product[2];
    /* Its file holds one module, whose tensors are named by their suffix alone, without the dot. It has no alpha, and
     * no multiplier but 1. */
    bool alone;

    /* Can it be trained on this layer? (Files may have it on any.) */
    bool (*fits)(const layer_info *layer);
    /* The rank that a layer gets. */
    int64_t (*rank)(const layer_info *layer, const trainable_options *o);
    /* What else there is to do for a new one, besides its params; NULL: nothing. */
    leco_status (*attach)(trainable_module *m, const trainable_options *o, struct model *from, leco_error *err);
    void (*shapes)(const layer_info *layer, int64_t rank, kind_shape out[KIND_MAX_PARAMS]);
    /* Makes the values that training starts with; they are 0 before. */
    leco_status (*initialise)(trainable_module *m, const kind_start *s, leco_error *err);
    /* at->y + what the module adds to it. */
    tensor *(*apply)(const trainable_module *m, const layer_site *at, float multiplier);
};

extern const trainable_kind *const trainable_kinds[]; /* ends with NULL */

extern const trainable_kind kind_lora, kind_loha, kind_embedding;

#endif
