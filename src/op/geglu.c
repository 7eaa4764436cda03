/* y = a gelu(b), x being a then b along the last dimension, gelu(b) = b Phi(b), Phi the normal distribution function:
 *     da = dy gelu(b);   db = dy a (Phi(b) + b phi(b)),   phi(b) = exp(-b^2 / 2) / sqrt(2 pi). */
#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_geglu(graph *g, tensor *x)
{
    return node_output(graph_node(g, OP_GEGLU, &(node_attr){0}, (tensor *[]){x}, op_geglu_inputs));
}

static bool geglu_infer(graph *g, node *n)
{
    char text[TENSOR_TEXT];
    if (!check_activation(g, n, 0, "x") || !check_rank(g, n, 0, "x", 1, TENSOR_MAX_DIMS)) return false;
    const shape *x = &n->input[0]->shape;
    if (shape_last(x) % 2 != 0) {
        return check_fail(g, n, "x %s has an odd number of channels", tensor_text(n->input[0], text));
    }
    graph_set_output(g, n, 0, graph_dtype(g), shape_with_last(*x, shape_last(x) / 2));
    return true;
}

static void geglu_grad(gradients *w, const node *n, tensor *dy)
{
    tensor *x = n->input[0];
    if (!gradients_wanted(w, x)) return;
    tensor *inputs[] = {dy, x};
    node *dx = graph_node(gradients_graph(w), OP_GEGLU_DX, &(node_attr){0}, inputs, op_geglu_dx_inputs);
    gradients_add(w, x, node_output(dx));
}

/* Inputs dy [..,C], x [..,2C]. */
static bool geglu_dx_infer(graph *g, node *n)
{
    if (!check_activation(g, n, 1, "x") || !check_activation(g, n, 0, "dy")) return false;
    const shape *x = &n->input[1]->shape;
    shape dy = shape_with_last(*x, shape_last(x) / 2);
    if (!check_shape(g, n, 0, "dy", &dy)) return false;
    graph_set_output(g, n, 0, graph_dtype(g), *x);
    return true;
}

const op_rule op_geglu_rule = {OP_RULE(geglu), .infer = geglu_infer, .grad = geglu_grad};
const op_rule op_geglu_dx_rule = {OP_RULE(geglu_dx), .infer = geglu_dx_infer};
