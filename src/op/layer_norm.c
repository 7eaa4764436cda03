/* y = gamma (x - mean) rstd + beta, mean and rstd = 1 / sqrt(var + eps) over the last dimension of each row. With
 * z = (x - mean) rstd and averages over the row:
 *     dx = rstd (gamma dy - average(gamma dy) - z average(gamma dy z)) + add. */
#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_layer_norm(graph *g, tensor *x, tensor *gamma, tensor *beta, float eps)
{
    const node_attr attr = {.eps = eps};
    return node_output(graph_node(g, OP_LAYER_NORM, &attr, (tensor *[]){x, gamma, beta}, op_layer_norm_inputs));
}

static bool layer_norm_infer(graph *g, node *n)
{
    if (!check_activation(g, n, 0, "x") || !check_rank(g, n, 0, "x", 1, TENSOR_MAX_DIMS)) return false;
    if (!(n->attr.eps > 0)) return check_fail(g, n, "eps is %g, it must be positive", (double)n->attr.eps);
    const shape *x = &n->input[0]->shape;
    if (!check_channel_weight(g, n, 1, "gamma", shape_last(x)) ||
        !check_channel_weight(g, n, 2, "beta", shape_last(x))) {
        return false;
    }
    graph_set_output(g, n, 0, graph_dtype(g), *x);
    graph_set_output(g, n, 1, graph_exact_dtype(g), SHAPE(shape_rows(x), 2));
    return true;
}

static void layer_norm_grad(gradients *w, const node *n, tensor *dy)
{
    tensor *x = n->input[0];
    if (!gradients_wanted(w, x)) return;
    tensor *inputs[] = {dy, x, n->input[1], n->output[1], gradients_so_far(w, x)};
    node *dx = graph_node(gradients_graph(w), OP_LAYER_NORM_DX, &n->attr, inputs, op_layer_norm_dx_inputs);
    gradients_set(w, x, node_output(dx));
}

/* Inputs dy, x, gamma, statistics [rows,2] E, add. */
static bool layer_norm_dx_infer(graph *g, node *n)
{
    if (!check_activation(g, n, 0, "dy") || !check_activation(g, n, 1, "x")) return false;
    const shape *x = &n->input[1]->shape;
    shape stats = SHAPE(shape_rows(x), 2);
    if (!check_shape(g, n, 0, "dy", x) || !check_channel_weight(g, n, 2, "gamma", shape_last(x))) return false;
    if (!check_value(g, n, 3, "statistics", graph_exact_dtype(g)) || !check_shape(g, n, 3, "statistics", &stats)) {
        return false;
    }
    if (!check_optional_like(g, n, 4, "add", x)) return false;
    graph_set_output(g, n, 0, graph_dtype(g), *x);
    return true;
}

const op_rule op_layer_norm_rule = {OP_RULE(layer_norm), .infer = layer_norm_infer, .grad = layer_norm_grad};
const op_rule op_layer_norm_dx_rule = {OP_RULE(layer_norm_dx), .infer = layer_norm_dx_infer};
