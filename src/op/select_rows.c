/* y[n] = x[n, index[n]]. */
#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_select_rows(graph *g, tensor *x, tensor *index)
{
    return node_output(graph_node(g, OP_SELECT_ROWS, &(node_attr){0}, (tensor *[]){x, index}, op_select_rows_inputs));
}

static bool select_rows_infer(graph *g, node *n)
{
    if (!check_activation(g, n, 0, "x") || !check_rank(g, n, 0, "x", 3, 3)) return false;
    const shape *x = &n->input[0]->shape;
    shape index = SHAPE(x->dim[0]);
    if (!check_value(g, n, 1, "index", DTYPE_I32) || !check_shape(g, n, 1, "index", &index)) return false;
    graph_set_output(g, n, 0, graph_dtype(g), SHAPE(x->dim[0], x->dim[2]));
    return true;
}

const op_rule op_select_rows_rule = {OP_RULE(select_rows), .infer = select_rows_infer};
