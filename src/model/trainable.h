/* What is trained, or loaded and applied: adapters on layers of a model.
 *
 * All values lie in one flat buffer and all gradients in another of the same layout; a param is a view into both.
 * Optimizers, accumulation, resume and copies to a device work on these buffers and know no kinds. What a kind of
 * adapter (LoRA, ...) puts on a layer, and how that enters a graph, is a row: model/kinds.h.
 *
 *     LECO_TRY(trainable_create(m, &options, &rng, &t, err));
 *     ...graphs are built with an adapter_set that has t in it; a run of one with gradients fills trainable_grads(t)...
 *     LECO_TRY(trainable_save(t, path, DTYPE_F16, &metadata, err));
 *     trainable_destroy(t); */
#ifndef LECO_MODEL_TRAINABLE_H
#define LECO_MODEL_TRAINABLE_H

#include "base/rng.h"
#include "graph/graph.h"
#include "model/selection.h"

typedef struct trainable trainable;
typedef struct trainable_kind trainable_kind; /* model/kinds.h */
struct family;                                /* model/family.h */

/* What one layer has. */
typedef struct trainable_module {
    const trainable_kind *kind;
    layer_info layer; /* the path is the trainable's */
    int64_t rank;
    float alpha;
    int64_t rows, columns; /* of a LoKr's first matrix; else 1 */
    param *param;          /* [params]: those that the kind's row lists; grad is NULL in a loaded one */
    size_t params;
    const char *token, *start; /* of an embedding: what prompts call it, and the words whose rows it starts as; the
                                  trainable's */
    int32_t first;             /* the id of its first vector, in all text encoders */
} trainable_module;

/* ---- making, loading, saving ---- */

/* Rank and alpha of the layers that a pattern matches (model/selection.h); 0: as of all others. */
typedef struct rank_rule {
    const char *match;
    int64_t rank;
    float alpha;
} rank_rule;

/* How often, while it learns, what down makes of x is left out: each number of it; all of one rank of a sample; all of
 * the module. What is left is made as much larger, but for modules. As in kohya's sd-scripts. */
typedef struct dropout_rates {
    float element, rank, module; /* from 0 to below 1 */
} dropout_rates;

typedef struct trainable_options {
    const trainable_kind *kind;
    layer_selection layers;
    int64_t rank; /* a kind may give a layer less */
    float alpha;
    int64_t conv_rank;      /* of convolutions larger than 1x1; 0: as of the others, */
    float conv_alpha;       /* likewise */
    const rank_rule *rules; /* [rule_count] the first that matches decides */
    size_t rule_count;
    const char *rules_place; /* "erase.yaml:7", for messages */
    int64_t factor;          /* of a LoKr: how large its first matrix may be; -1: as near to square as it goes */
    dropout_rates dropout;
    const char *start_from;    /* a file whose values it starts with; NULL: none */
    const char *token, *start; /* of an embedding: its name in prompts, which the model's tokenizer learns; the words
                                  whose rows it starts as */
    int64_t vectors;           /* likewise: ids that the name becomes */
    dtype exact;               /* DTYPE_F32, or DTYPE_F64 for checks with the reference backend */
} trainable_options;

/* One to be trained, on the selected layers of a model, in the order of its lists, the U-Net's before the text
 * encoder's: names, shapes and sizes. Graphs can be built with it; values and gradients are NULL. A layer that the file
 * of start_from has gets the file's rank and alpha; the file has no layer that isn't selected. On failure *out is NULL.
 */
leco_status trainable_plan(struct model *m, const trainable_options *options, trainable **out, leco_error *err);
/* Takes memory for a planned one, with the initial values that the kind draws from r, or an embedding finds in the
 * model's text encoder, which is mapped then. */
leco_status trainable_start(trainable *t, struct model *m, rng *r, leco_error *err);
/* Both at once. */
leco_status trainable_create(struct model *m, const trainable_options *options, rng *r, trainable **out,
                             leco_error *err);

/* Loads a file for use at multiplier 1 (not trained). Keys: lora_unet_* of diffusers module names, lora_te_* or, for
 * the same, lora_te1_*. A layer that the model doesn't have, or of another shape, is LECO_INVALID "... is for another
 * model", but text layers beyond the model's last are left out, with one warning: models with clip skip built in lack
 * them. alpha may be of any integer or floating type; a missing one, or 0, counts as rank. Anything else that the file
 * holds is LECO_UNSUPPORTED, naming it: nothing is left out unsaid. Keys of a part without a list are refused. */
leco_status trainable_load(const char *path, const adapter_layers *layers, dtype exact, trainable **out,
                           leco_error *err);
/* Loads an embedding, so that the model's tokenizer knows it: a file of the one tensor emb_params [vectors,width] or
 * [width], as kohya's sd-scripts, A1111 and ComfyUI have it, called by its file's name, or by modelspec.trigger_phrase
 * where that is one word, and then by its file's name, too, if that is no token; or of one tensor that is named as the
 * token, as diffusers saves it. A word that is a token already, and a width that isn't the model's, are LECO_INVALID.
 */
leco_status trainable_load_embedding(const char *path, struct model *m, dtype exact, trainable **out, leco_error *err);
/* Loads the embeddings that come with a LoRA, tensors "bundle_emb.NAME.TENSOR", as those above: NAME is the word,
 * TENSOR emb_params, A1111's string_to_param.*, or for two text encoders clip_l and clip_g. Most files have none. */
typedef struct trainable_list {
    trainable **at; /* [count] */
    size_t count;
} trainable_list;
leco_status trainable_load_bundled(const char *path, struct model *m, dtype exact, trainable_list *out,
                                   leco_error *err);
void trainable_list_free(trainable_list *list); /* with all that is in it */
/* Copies the values of a file into one that has the same modules, ranks and alphas (resume). */
leco_status trainable_load_values(trainable *t, const char *path, leco_error *err);

/* Those of the file that options.start_from named, module by module: the last thing that trainable_start does. The file
 * must be as it was when it was planned. */
leco_status trainable_copy_values(trainable *to, const trainable *loaded, leco_error *err);

/* One that was neither trained nor loaded, of LoRAs, say, that were computed: these modules, with values of zero, to be
 * used and saved as a loaded one. On failure *out is NULL. */
typedef struct trainable_spec {
    const trainable_kind *kind;
    const layer_info *layer; /* copied */
    int64_t rank;
    float alpha;
} trainable_spec;
leco_status trainable_assemble(const trainable_spec *specs, size_t count, dtype exact, trainable **out,
                               leco_error *err);

/* The k-th param of a module of a loaded (or assembled) one as it is in files, at multiplier 1: of the exact dtype, in
 * order of the param's shape. Whoever changes it calls trainable_set_multiplier afterwards. */
void *trainable_in_file(const trainable *t, size_t module, size_t k);

/* What a saved file says about itself; NULL members are left out. */
typedef struct trainable_metadata {
    const char *output_name;       /* ss_output_name and modelspec.title */
    const char *comment;           /* ss_training_comment */
    const struct family *family;   /* of the model: version, architecture and implementation */
    bool v_prediction;             /* what it predicts; left out with the family */
    const char *resolution;        /* "512x512" */
    const char *date;              /* ISO 8601 */
    const char *const (*extra)[2]; /* further key, value pairs */
    size_t extra_count;
} trainable_metadata;

/* Writes the file atomically, tensors as `type` (F32, F16, BF16). A loaded one is written at multiplier 1. */
leco_status trainable_save(const trainable *t, const char *path, dtype type, const trainable_metadata *metadata,
                           leco_error *err);

void trainable_destroy(trainable *t); /* NULL is fine */

/* ---- what is in it ---- */

/* The buffers, of the exact dtype: trainable_count elements each. Between params there are a few that belong to none
 * (each param begins at a multiple of 64 bytes); they are 0 and their gradients, too. */
void *trainable_values(trainable *t);
void *trainable_grads(trainable *t); /* NULL in a loaded one */
size_t trainable_count(const trainable *t);
size_t trainable_bytes(const trainable *t); /* of all buffers, with the copy that sessions on a device have */
/* Whoever wrote into the values, or into a param's, says so before graphs run again: a device goes on with the copy
 * that it has until then. What stands in this header and changes values says it itself. */
void trainable_changed(trainable *t);

/* All params, module after module; *count of them. */
param *trainable_params(trainable *t, size_t *count);
int64_t trainable_parameters(const trainable *t); /* elements of all params, as people count them */

bool trainable_reaches(const trainable *t, model_part part); /* is there a module on it? */
bool trainable_reaches_texts(const trainable *t);            /* on any text encoder? */

size_t trainable_module_count(const trainable *t);
trainable_module *trainable_module_at(trainable *t, size_t index); /* in order of creation */

/* ---- in graphs ---- */

/* Sets a loaded one's multiplier: any number, also negative. Takes effect at the next run of graphs already built. */
void trainable_set_multiplier(trainable *t, float multiplier);

/* What a graph is built with: several sum. `multiplier` is built into the graph (a slider trains the same trainable at
 * +1 and -1 in two graphs); 1 where trainable_set_multiplier is to decide. */
typedef struct adapter_use {
    trainable *trainable;
    float multiplier;
} adapter_use;

/* Masks of dropout: inputs of a graph, which whoever runs it fills before each run. */
typedef struct dropout_mask {
    tensor *mask; /* [N,..,rank] as what it multiplies */
    dropout_rates rates;
} dropout_mask;

typedef struct dropout_masks {
    dropout_mask *at; /* [count] in order of building; mem_free it */
    size_t count, capacity;
} dropout_masks;

/* values [shape_count(&m->mask->shape)]: what is left out by these draws, as kohya's sd-scripts draws it: one of the
 * module; one an element; one a sample and rank. */
void dropout_draw(const dropout_mask *m, rng *r, float *values);

struct adapter_set {
    const adapter_use *use;
    size_t count;
    dropout_masks *masks; /* a graph that learns: gets its masks; NULL: nothing is left out */
};

/* A layer in a graph under construction, as adapters see it. */
typedef struct layer_site {
    graph *g;
    tensor *x, *y;  /* its input [..,in], and its output [..,out] so far */
    int stride;     /* of a convolution of more than 1x1 */
    const int *pad; /* likewise: top, left, bottom, right */
    tensor *w;      /* its weight, as linear and conv2d take it; NULL of the token table, and of norms, whose x is
                       normalised, before anything is scaled or added */
    tensor *base;   /* W x alone, where adapters_want_base; else NULL */
    struct weights *weights; /* the model's */
    dropout_masks *masks;    /* as of the set, */
    dropout_rates rates;     /* and what to drop */
} layer_site;

/* For module.c: does one on this layer ask for what the weight alone makes of x? */
bool adapters_want_base(const struct adapter_set *set, model_part part, const char *path);
/* Likewise, is there any on it? */
bool adapters_are_on(const struct adapter_set *set, model_part part, const char *path);
/* For kinds: y + multiplier * v, v [out] the same at every position. */
tensor *adapter_shifted(const layer_site *at, tensor *v, tensor *y, float multiplier);
/* For kinds: y + what the layer's frozen weight, without its bias, makes of x. */
tensor *adapter_through_weight(const trainable_module *m, const layer_site *at, tensor *x, tensor *y);
/* For kinds: h with dropout's mask over it, where this graph learns and something is dropped. */
tensor *adapter_dropped(const trainable_module *m, const layer_site *at, tensor *h);
/* For module.c: y + what all adapters on this layer add. */
tensor *adapters_apply(const struct adapter_set *set, model_part part, const char *path, const layer_site *at);

#endif
