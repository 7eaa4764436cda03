/* Building graphs: leaves, nodes and the reverse walk.
 *
 * The builder keeps the first error (with the names of the tensors involved) and turns later calls into no-ops that
 * return NULL; operators accept NULL inputs that way, so model code needs no checks until graph_finish. */
#ifndef LECO_GRAPH_GRAPH_H
#define LECO_GRAPH_GRAPH_H

#include "base/error.h"
#include "graph/tensor.h"
#include "graph/weight.h"

typedef struct graph graph;

/* `compute` is the dtype of activations: F32, BF16, F16, or F64 (reference backend only). Owned by the caller. NULL:
 * out of memory. */
graph *graph_create(dtype compute);
void graph_destroy(graph *g);

dtype graph_dtype(const graph *g);
size_t graph_bytes(const graph *g); /* of the nodes, tensors and names */
/* What params, gradients of params, statistics and losses are kept in: F32, or F64 in an F64 graph. */
dtype graph_exact_dtype(const graph *g);

/* Leaves. Input dtypes: the compute dtype for activations (type = graph_dtype(g)), the exact dtype or I32 otherwise.
 * A weight or param used twice gives the same tensor. Names are copied. */
tensor *graph_input(graph *g, const char *name, dtype type, shape s);
tensor *graph_weight(graph *g, weight *w);
tensor *graph_param(graph *g, param *p);

/* Marks what the caller reads after a run. */
void graph_result(graph *g, tensor *t);

/* Between the two, nodes belong to one more block: a stretch of the model (a residual block, a transformer) that little
 * goes into and little comes out of. */
void graph_begin_block(graph *g);
void graph_end_block(graph *g);
int graph_block_count(const graph *g);

/* Gradient checkpointing: the reverse walk to come computes what it needs of the first `blocks` blocks again, so that
 * their activations don't outlive the forward pass. Results are the same to the bit. Source: Chen et al., "Training
 * deep nets with sublinear memory cost" (2016). */
void graph_recompute(graph *g, int blocks);

/* Names for the nodes made from now on (a module path such as "down_blocks.0.resnets.1.conv1"); copied. */
void graph_set_name(graph *g, const char *name);

/* For src/op: appends a node. Shapes of its outputs come from the operator's rule. inputs[i] may be NULL where the rule
 * says optional. Returns the node, or NULL when the graph is in error (or any of its required inputs is NULL). */
node *graph_node(graph *g, op_code op, const node_attr *attr, tensor *const *inputs, int input_count);

/* Records the first error. Operators' rules report with this. Always returns NULL. */
void *graph_fail(graph *g, leco_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool graph_ok(const graph *g);

/* Ends building: LECO_OK, or the first error. */
leco_status graph_finish(graph *g, leco_error *err);

/* Reverse walk: emits the nodes that compute d loss / d p for every trainable param (param->trained) that `loss`
 * (a scalar) depends on, into param->grad (overwritten by each run). Nothing is emitted off those paths. */
void graph_backward(graph *g, tensor *loss);

/* As above for any tensor y with a given co-vector u of y's shape: gradients of sum(u * y). Where y is a loss, u, a
 * scalar of the exact dtype, scales it; NULL: 1. The gradients of non-param leaves in `wanted` are returned in `grads`
 * (NULL where y doesn't depend on it). A wanted leaf is an input tensor that graph_want_gradient was called on before
 * it was used. */
void graph_backward_from(graph *g, tensor *y, tensor *u, tensor *const *wanted, size_t count, tensor **grads);
void graph_want_gradient(graph *g, tensor *input);

/* Reading a finished graph, in execution order. */
size_t graph_node_count(const graph *g);
node *graph_node_at(const graph *g, size_t index);
size_t graph_tensor_count(const graph *g);
tensor *graph_tensor_at(const graph *g, size_t index);

/* ---- rules: what src/op defines for each operator ---- */

typedef struct gradients gradients; /* the state of a reverse walk */

typedef struct op_rule {
    int max_inputs, max_outputs, shared_input;
    /* Checks attributes and inputs (dtypes, ranks, sizes) and sets shape and dtype of the outputs through
     * graph_set_output; false after graph_fail. */
    bool (*infer)(graph *g, node *n);
    /* Emits the gradient nodes of n for those inputs where gradients_wanted says so; NULL: no gradient is defined, and
     * asking for one is an error. dy is the gradient of output 0; NULL stands for 1 where that output is
     * the loss itself (only mse needs to know). */
    void (*grad)(gradients *w, const node *n, tensor *dy);
    /* Floating-point operations of n, for reports: 2 a multiply-add. NULL: not worth counting. */
    double (*flops)(const node *n);
} op_rule;

double node_flops(const node *n);

extern const op_rule *const op_rules[OP_COUNT]; /* src/op/rules.c */

void graph_set_output(graph *g, node *n, int index, dtype type, shape s);

/* For gradient rules. */
graph *gradients_graph(gradients *w);
bool gradients_wanted(const gradients *w, const tensor *input);
/* The sum of the contributions to input's gradient so far, or NULL: pass it as `add` of the node that makes the next
 * contribution, and give that node's output to gradients_set. */
tensor *gradients_so_far(const gradients *w, const tensor *input);
/* Replaces the gradient of input by `total`, which includes what gradients_so_far returned. */
void gradients_set(gradients *w, const tensor *input, tensor *total);
/* Adds a contribution made by an operator without an `add` input (emits an ADD where there is one already). */
void gradients_add(gradients *w, const tensor *input, tensor *part);

#endif
