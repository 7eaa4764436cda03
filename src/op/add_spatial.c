/* y[n,h,w,c] = x[n,h,w,c] + v[n,c]; dx = dy; dv = sum of dy over h and w. */
#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_add_spatial(graph *g, tensor *x, tensor *v)
{
    return node_output(graph_node(g, OP_ADD_SPATIAL, &(node_attr){0}, (tensor *[]){x, v}, op_add_spatial_inputs));
}

static bool add_spatial_infer(graph *g, node *n)
{
    if (!check_activation(g, n, 0, "x") || !check_rank(g, n, 0, "x", 4, 4) || !check_activation(g, n, 1, "v")) {
        return false;
    }
    const shape *x = &n->input[0]->shape;
    shape v = SHAPE(x->dim[0], x->dim[3]);
    if (!check_shape(g, n, 1, "v", &v)) return false;
    graph_set_output(g, n, 0, graph_dtype(g), *x);
    return true;
}

static void add_spatial_grad(gradients *w, const node *n, tensor *dy)
{
    tensor *x = n->input[0], *v = n->input[1];
    if (gradients_wanted(w, x)) gradients_add(w, x, dy);
    if (gradients_wanted(w, v)) gradients_add(w, v, op_sum_spatial(gradients_graph(w), dy, 1));
}

const op_rule op_add_spatial_rule = {OP_RULE(add_spatial), .infer = add_spatial_infer, .grad = add_spatial_grad};
