/* What models are written with: layers that find their weights, and their adapters, by module path.
 *
 * An `nn` is the context that a model's builder functions pass along: the graph under construction, the weights, the
 * adapters in use, and the path of the module being built ("down_blocks.0.resnets.1"), which names weights, LoRA keys
 * and graph nodes alike. Failures end up in the graph (graph_finish reports the first). */
#ifndef LECO_MODEL_MODULE_H
#define LECO_MODEL_MODULE_H

#include "graph/graph.h"
#include "model/layers.h"
#include "model/weights.h"

typedef struct adapter_set adapter_set; /* model/trainable.h */

#define NN_PATH_LENGTH 256

typedef struct nn {
    graph *g;
    weights *weights;
    const adapter_set *adapters; /* NULL: none */
    model_part part;             /* adapters are looked up by part and path */
    /* Called for every linear, conv, token table and norm, in the order they are built; may be NULL. */
    void (*visit)(void *user, const layer_info *layer);
    void *visit_user;
    layer_class class; /* of the block being built */
    char path[NN_PATH_LENGTH];
} nn;

void nn_init(nn *c, graph *g, weights *w, const adapter_set *adapters, model_part part);

/* Where the builder was before it entered a module. */
typedef struct nn_mark {
    size_t length; /* of the path */
    layer_class class;
} nn_mark;

/* Enters a module below the current one; leave with the value it returned. */
nn_mark nn_enter(nn *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same where the module is a block of a class: until it is left, layers are that block's. */
nn_mark nn_enter_block(nn *c, layer_class class, const char *name);
void nn_leave(nn *c, nn_mark mark);

/* y [..,out] = x [..,in] W^T + b + add + adapters. Weight NAME.weight [out,in], bias NAME.bias [out] where `bias`. add
 * may be NULL. */
tensor *nn_linear(nn *c, const char *name, tensor *x, int64_t out, bool bias, tensor *add);

/* y [N,Ho,Wo,out] = conv(x [N,H,W,in]) + b + add + adapters. Weight [out,in,k,k], padded to keep the size at stride 1.
 * A 1x1 convolution runs as a linear layer. */
tensor *nn_conv2d(nn *c, const char *name, tensor *x, int64_t out, int kernel, tensor *add);
/* The same with stride 2 and explicit padding: top, left, bottom, right. */
tensor *nn_conv2d_strided(nn *c, const char *name, tensor *x, int64_t out, int kernel, const int pad[4]);

/* y [N,T,width] = NAME.weight[ids] + positions + adapters (op_embedding): ids beyond the table's rows are an adapter's.
 */
tensor *nn_token_table(nn *c, const char *name, tensor *ids, int64_t rows, int64_t width, tensor *positions);

tensor *nn_group_norm(nn *c, const char *name, tensor *x, int groups, float eps, bool silu);
tensor *nn_layer_norm(nn *c, const char *name, tensor *x, float eps);

/* [channels] of this value, 0 or 1, as a weight of the graph. */
tensor *nn_constant(graph *g, weights *w, int value, int64_t channels);

/* The weight PATH.name of the given shape as a tensor of the graph. */
tensor *nn_weight(nn *c, const char *name, shape s);
bool nn_has(const nn *c, const char *name); /* is PATH.name in the weights? */

#endif
