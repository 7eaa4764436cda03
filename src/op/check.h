/* What the operators' rules share: checks whose messages name the tensors, and small conveniences.
 *
 * The checks return false after graph_fail; `role` is the input's name in op.h ("x", "w", "add", ...). */
#ifndef LECO_OP_CHECK_H
#define LECO_OP_CHECK_H

#include "graph/graph.h"

/* "down.proj [2,77,320]" for messages. Returns text. */
#define TENSOR_TEXT 256
const char *tensor_text(const tensor *t, char text[TENSOR_TEXT]);

/* Fails the graph with "linear at <node's name>: <sentence>". Always returns false. */
bool check_fail(graph *g, const node *n, const char *format, ...) __attribute__((format(printf, 3, 4)));

bool check_present(graph *g, const node *n, int input, const char *role);
/* Present, made by a node or the caller, and of this dtype. */
bool check_value(graph *g, const node *n, int input, const char *role, dtype type);
/* Present, made by a node or the caller, of the compute dtype. */
bool check_activation(graph *g, const node *n, int input, const char *role);
/* As check_activation and of this very shape. An absent input passes. */
bool check_optional_like(graph *g, const node *n, int input, const char *role, const shape *s);
/* Present and of this shape, whatever its dtype and origin. */
bool check_shape(graph *g, const node *n, int input, const char *role, const shape *s);
bool check_rank(graph *g, const node *n, int input, const char *role, int lowest, int highest);
/* Present, frozen. */
bool check_weight(graph *g, const node *n, int input, const char *role);
/* Present: a param, or made by a node, or an input, of the exact dtype. */
bool check_exact(graph *g, const node *n, int input, const char *role);
/* Present: frozen, a param, or made by a node in the exact dtype. */
bool check_weight_or_param(graph *g, const node *n, int input, const char *role);
/* Frozen and [channels]. */
bool check_channel_weight(graph *g, const node *n, int input, const char *role, int64_t channels);

/* Output 0; NULL for NULL. */
tensor *node_output(const node *n);

/* s with another last dimension. */
shape shape_with_last(shape s, int64_t last);

#endif
