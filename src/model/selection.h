/* Which layers are trained: what a config's network.type, network.training_method and patterns say. A selection is of
 * layers alone; what is put on them is a kind's business (model/kinds.h). */
#ifndef LECO_MODEL_SELECTION_H
#define LECO_MODEL_SELECTION_H

#include "model/layers.h"

/* network.type */
typedef enum layer_scope {
    SCOPE_LIERLA,   /* "lierla": linear layers and 1x1 convolutions inside Transformer2DModels */
    SCOPE_C3LIER,   /* "c3lier": and all layers of residual blocks and of down- and upsamplers */
    SCOPE_EMBEDDING /* "embedding": no layers but the token tables, whatever the method */
} layer_scope;

/* network.training_method: those of the scope that are ... */
typedef enum training_method {
    METHOD_FULL,         /* "full": all of them */
    METHOD_SELFATTN,     /* "selfattn": attn1 only */
    METHOD_XATTN,        /* "xattn": attn2 only */
    METHOD_XATTN_STRICT, /* "xattn-strict": attn2.to_k and attn2.to_v only */
    METHOD_NOXATTN,      /* "noxattn": all but attn2 */
    METHOD_INNOXATTN     /* "innoxattn": all but attn1 */
} training_method;

/* Patterns of module paths. One with *, ? or [ is a glob of the whole path, as of Python's fnmatch: * stands for
 * anything, dots included ("down_blocks.*.to_k"). Any other is one or several names of the path that follow each other:
 * "attn2", "attn2.to_k", "mid_block". */
typedef struct layer_patterns {
    const char *const *at; /* [count] */
    size_t count;
    const char *place; /* "erase.yaml:7", for messages */
} layer_patterns;

typedef struct layer_selection {
    layer_scope scope;
    training_method method;
    bool text_encoder; /* network.text_encoder: attention and MLP layers of all there are, too, whatever scope and
                          method */
    layer_patterns include, exclude; /* of these all, or those that one of `include` matches; none of `exclude` */
} layer_selection;

bool layer_selected(const layer_selection *s, const layer_info *layer);
bool layer_matches(const char *pattern, const layer_info *layer);
/* LECO_INVALID for a pattern of `key` ("network.include") that matches none of the layers that scope and method have
 * in the lists [PART_COUNT], NULL where there is none: it says which it may have been meant for. */
leco_status layer_patterns_check(const layer_patterns *patterns, const char *key, const layer_selection *s,
                                 const layer_list *const *lists, leco_error *err);
bool selection_reaches(const layer_selection *s, model_part part); /* may it select layers of that part? */

#endif
