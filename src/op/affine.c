/* y = (offset + scale * v) x + b + add, v and b by channel; dx = (offset + scale * v) dy + add;
 * dv = scale * sum over rows of dy x + add. */
#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

static tensor *affine(graph *g, const node_attr *attr, tensor *x, tensor *v, tensor *b, tensor *add)
{
    return node_output(graph_node(g, OP_AFFINE, attr, (tensor *[]){x, v, b, add}, op_affine_inputs));
}

tensor *op_affine(graph *g, tensor *x, tensor *v, tensor *b, tensor *add, float offset, float scale)
{
    return affine(g, &(node_attr){.offset = offset, .scale = scale}, x, v, b, add);
}

static bool affine_infer(graph *g, node *n)
{
    if (!check_activation(g, n, 0, "x") || !check_rank(g, n, 0, "x", 1, TENSOR_MAX_DIMS)) return false;
    const shape *x = &n->input[0]->shape;
    const shape channels = SHAPE(shape_last(x));
    if (n->input[1] != NULL && (!check_exact(g, n, 1, "v") || !check_shape(g, n, 1, "v", &channels))) return false;
    if (n->input[2] != NULL && !check_channel_weight(g, n, 2, "bias", channels.dim[0])) return false;
    if (!check_optional_like(g, n, 3, "add", x)) return false;
    graph_set_output(g, n, 0, graph_dtype(g), *x);
    return true;
}

static void affine_grad(gradients *w, const node *n, tensor *dy)
{
    graph *g = gradients_graph(w);
    tensor *x = n->input[0], *v = n->input[1], *add = n->input[3];
    if (gradients_wanted(w, x)) gradients_set(w, x, affine(g, &n->attr, dy, v, NULL, gradients_so_far(w, x)));
    if (gradients_wanted(w, v)) {
        tensor *inputs[] = {dy, x, gradients_so_far(w, v)};
        gradients_set(w, v, node_output(graph_node(g, OP_AFFINE_DV, &n->attr, inputs, op_affine_dv_inputs)));
    }
    if (gradients_wanted(w, add)) gradients_add(w, add, dy);
}

/* Inputs dy, x [..,C], add [C]. */
static bool affine_dv_infer(graph *g, node *n)
{
    if (!check_activation(g, n, 0, "dy") || !check_activation(g, n, 1, "x")) return false;
    const shape *x = &n->input[1]->shape, channels = SHAPE(shape_last(x));
    if (!check_shape(g, n, 0, "dy", x)) return false;
    if (n->input[2] != NULL && (!check_exact(g, n, 2, "add") || !check_shape(g, n, 2, "add", &channels))) return false;
    graph_set_output(g, n, 0, graph_exact_dtype(g), channels);
    return true;
}

const op_rule op_affine_rule = {OP_RULE(affine), .infer = affine_infer, .grad = affine_grad};
const op_rule op_affine_dv_rule = {OP_RULE(affine_dv), .infer = affine_dv_infer};
