/* Which layers are trained: what a config's network.type and network.training_method say. A selection is of layers
 * alone; what is put on them is a kind's business (model/kinds.h). */
#ifndef LECO_MODEL_SELECTION_H
#define LECO_MODEL_SELECTION_H

#include "model/layers.h"

/* network.type */
typedef enum layer_scope {
    SCOPE_LIERLA,   /* "lierla": linear layers and 1x1 convolutions inside Transformer2DModels */
    SCOPE_EMBEDDING /* "embedding": no layer but the token table, whatever the method */
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

typedef struct layer_selection {
    layer_scope scope;
    training_method method;
    bool text_encoder; /* network.text_encoder: its attention and MLP layers, too, whatever scope and method are */
} layer_selection;

bool layer_selected(const layer_selection *s, const layer_info *layer);
bool selection_reaches(const layer_selection *s, model_part part); /* may it select layers of that part? */

#endif
