/* What models are written with: layers that find their weights, and their adapters, by module path.
 *
 * An `nn` is the context that a model's builder functions pass along: the graph under construction, the weights, the
 * adapters in use, and the path of the module being built ("down_blocks.0.resnets.1"), which names weights, LoRA keys
 * and graph nodes alike. Failures end up in the graph (graph_finish reports the first). */
#ifndef LECO_MODEL_MODULE_H
#define LECO_MODEL_MODULE_H

#include "graph/graph.h"
#include "model/weights.h"

typedef struct adapter_set adapter_set; /* model/adapter.h */

/* The modules that a model consists of (part.h has a row for each); anything else is PART_OTHER. */
typedef enum model_part { PART_UNET, PART_TEXT_ENCODER, PART_VAE, PART_COUNT, PART_OTHER = PART_COUNT } model_part;

/* A layer that an adapter can attach to, as it is built. */
typedef struct layer_info {
    const char *path;
    int64_t in, out;     /* channels */
    int kernel;          /* 1 or 3 */
    bool is_conv;        /* stored as [out,in,k,k]; adapters to it are saved so, too */
    bool in_transformer; /* inside a Transformer2DModel */
} layer_info;

#define NN_PATH_LENGTH 256

typedef struct nn {
    graph *g;
    weights *weights;
    const adapter_set *adapters; /* NULL: none */
    model_part part;             /* adapters are looked up by part and path */
    /* Called for every linear and conv, in the order they are built; may be NULL. */
    void (*visit)(void *user, const layer_info *layer);
    void *visit_user;
    bool in_transformer;
    char path[NN_PATH_LENGTH];
} nn;

void nn_init(nn *c, graph *g, weights *w, const adapter_set *adapters, model_part part);

/* Enters a module below the current one; leave with the value it returned. */
size_t nn_enter(nn *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void nn_leave(nn *c, size_t mark);

/* y [..,out] = x [..,in] W^T + b + add + adapters. Weight NAME.weight [out,in], bias NAME.bias [out] where `bias`. add
 * may be NULL. */
tensor *nn_linear(nn *c, const char *name, tensor *x, int64_t out, bool bias, tensor *add);

/* y [N,Ho,Wo,out] = conv(x [N,H,W,in]) + b + add + adapters. Weight [out,in,k,k], padded to keep the size at stride 1.
 * A 1x1 convolution runs as a linear layer. */
tensor *nn_conv2d(nn *c, const char *name, tensor *x, int64_t out, int kernel, tensor *add);
/* The same with stride 2 and explicit padding: top, left, bottom, right. */
tensor *nn_conv2d_strided(nn *c, const char *name, tensor *x, int64_t out, int kernel, const int pad[4]);

tensor *nn_group_norm(nn *c, const char *name, tensor *x, int groups, float eps, bool silu);
tensor *nn_layer_norm(nn *c, const char *name, tensor *x, float eps);

/* The weight PATH.name of the given shape as a tensor of the graph. */
tensor *nn_weight(nn *c, const char *name, shape s);
bool nn_has(const nn *c, const char *name); /* is PATH.name in the weights? */

#endif
