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

enum { KIND_RANK, KIND_ROWS, KIND_COLUMNS, KIND_SIZES };

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
    const char *name;                 /* in configs: "lora" */
    const trainable_kind *variant_of; /* another form that files of this kind have; not in configs. NULL: none */
    const char *file_module;  /* ss_network_module: "networks.lora"; NULL: its files say none, nor ranks and alphas */
    const char *architecture; /* what follows the model's in modelspec.architecture: "lora" */
    struct {
        const char *suffix; /* in files; NULL ends the list */
        bool multiplied;    /* a loaded one's value is multiplier times the file's */
        bool added; /* in no file, and behind all that are: a loaded one has it, of ones, so that graphs can see the
                       multiplier; a trained one hasn't */
    } param[KIND_MAX_PARAMS + 1];
    /* Where sizes of a module show: each is that dimension (in files) of that param; a dim of -1: nowhere, it is 1. */
    struct {
        int param, dim;
    } size[KIND_SIZES];
    /* What it adds to the layer's weight [out, in k k], over alpha / rank: the product of the params `left` [out,rank]
     * and `right` [rank, in k k]; or that of each of two pairs, multiplied element by element. 0: it can't be said so.
     */
    int products;
    struct {
        int left, right;
    } product[2];
    /* Where that is 0: adds what it changes the weight by, times `factor`, to matrix [out, in k k]; params as in files.
     * W [out, in k k] is the weight itself, NULL where nobody has it: those that need it aren't asked then. */
    leco_status (*change)(const trainable_module *m, const double *const *params, double factor, const double *w,
                          double *matrix, leco_error *err);
    bool needs_weight; /* `change` does */
    /* It changes not the weight but the bias, and goes on a layer beside a module of another kind, or alone: `change`
     * adds to [out]. */
    bool of_bias;
    bool of_norm;          /* it goes on norms (LAYER_NORMS) and nowhere else; other kinds, but of_bias, never do */
    const char *of_pixels; /* it goes on no convolution of a larger kernel: what it would be there, for messages; NULL:
                              on any */
    bool unscaled;         /* it has no rank, and no alpha, nor have its files */
    const char *folded_from; /* what files have in place of its tensors (adapter_fold.h), for messages; NULL: these */
    /* Its file holds nothing else: a module for each text encoder, whose one tensor is named as part.h says. It has no
     * alpha, and no multiplier but 1. */
    bool alone;

    bool only_read; /* files have it, nobody trains it: it isn't in configs, and `fits`, `settle`, `initialise` are NULL
                     */
    /* Can it be trained on this layer? (Files may have it on any.) */
    bool (*fits)(const layer_info *layer);
    /* What a layer gets that was to have the module's rank and alpha: sets its sizes, and perhaps a variant. */
    void (*settle)(trainable_module *m, const trainable_options *o);
    /* What else there is to do for all modules of a new trainable, besides their params; NULL: nothing. */
    leco_status (*attach)(trainable_module *modules, size_t count, const trainable_options *o, struct model *from,
                          leco_error *err);
    void (*shapes)(const trainable_module *m, kind_shape out[KIND_MAX_PARAMS]);
    /* Makes the values that training starts with; they are 0 before. */
    leco_status (*initialise)(trainable_module *m, const kind_start *s, leco_error *err);
    /* at->y + what the module adds to it. */
    tensor *(*apply)(const trainable_module *m, const layer_site *at, float multiplier);
    bool wants_base; /* of the site: what the frozen weight alone makes of x */
    bool drops;      /* it knows dropout */
};

extern const trainable_kind *const trainable_kinds[]; /* ends with NULL */

extern const trainable_kind kind_lora, kind_dora, kind_dora_in, kind_loha, kind_lokr, kind_lokr_whole, kind_lokr_thin,
    kind_glora, kind_glora_old, kind_oft, kind_oft_in, kind_oft_in_scaled, kind_ia3, kind_ia3_in, kind_norm,
    kind_norm_whole, kind_bias, kind_bias_of_norm, kind_embedding;

/* How many of its params files have. */
static inline size_t kind_file_params(const trainable_kind *kind)
{
    size_t count = 0;
    while (kind->param[count].suffix && !kind->param[count].added) count++;
    return count;
}

/* Have its files an alpha beside its tensors? */
static inline bool kind_has_alpha(const trainable_kind *kind)
{
    return !kind->alone && !kind->unscaled;
}

/* May files have it on this layer? */
static inline bool kind_goes_on(const trainable_kind *kind, const layer_info *layer)
{
    return kind->of_bias || kind->of_norm == (layer->class == LAYER_NORMS);
}

/* Is it this one, or a variant of it? */
static inline bool kind_is(const trainable_kind *kind, const trainable_kind *of)
{
    return kind == of || kind->variant_of == of;
}

/* For kinds that share LoRA's two matrices. */
void lora_settle(trainable_module *m, const trainable_options *o);
void lora_shapes(const trainable_module *m, kind_shape out[KIND_MAX_PARAMS]);
leco_status lora_initialise(trainable_module *m, const kind_start *s, leco_error *err);
tensor *lora_low(const trainable_module *m, const layer_site *at, tensor *x); /* down x */

/* A convolution's or a linear layer's weight has no other kernel. */
static inline bool kind_fits_weight(const layer_info *layer)
{
    return layer->kernel > 0; /* the token table has none */
}

#endif
