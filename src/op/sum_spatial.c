/* y[n,c] = scale * sum over h,w of x[n,h,w,c]. */
#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_sum_spatial(graph *g, tensor *x, float scale)
{
    const node_attr attr = {.scale = scale};
    return node_output(graph_node(g, OP_SUM_SPATIAL, &attr, (tensor *[]){x}, op_sum_spatial_inputs));
}

static bool sum_spatial_infer(graph *g, node *n)
{
    if (!check_activation(g, n, 0, "x") || !check_rank(g, n, 0, "x", 4, 4)) return false;
    const shape *x = &n->input[0]->shape;
    graph_set_output(g, n, 0, graph_dtype(g), SHAPE(x->dim[0], x->dim[3]));
    return true;
}

const op_rule op_sum_spatial_rule = {OP_RULE(sum_spatial), .infer = sum_spatial_infer};
