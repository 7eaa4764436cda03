/* y[n] = x[n, index[n]]; dx[n,t] = dy[n] where t = index[n], and 0 elsewhere. */
#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_select_rows(graph *g, tensor *x, tensor *index)
{
    return node_output(graph_node(g, OP_SELECT_ROWS, &(node_attr){0}, (tensor *[]){x, index}, op_select_rows_inputs));
}

static bool check_index(graph *g, node *n, int64_t samples)
{
    shape index = SHAPE(samples);
    return check_value(g, n, 1, "index", DTYPE_I32) && check_shape(g, n, 1, "index", &index);
}

static bool select_rows_infer(graph *g, node *n)
{
    if (!check_activation(g, n, 0, "x") || !check_rank(g, n, 0, "x", 3, 3)) return false;
    const shape *x = &n->input[0]->shape;
    if (!check_index(g, n, x->dim[0])) return false;
    graph_set_output(g, n, 0, graph_dtype(g), SHAPE(x->dim[0], x->dim[2]));
    return true;
}

static void select_rows_grad(gradients *w, const node *n, tensor *dy)
{
    tensor *x = n->input[0];
    if (!gradients_wanted(w, x)) return;
    const node_attr attr = {.target = x->shape};
    tensor *inputs[] = {dy, n->input[1]};
    gradients_add(
        w, x, node_output(graph_node(gradients_graph(w), OP_SELECT_ROWS_DX, &attr, inputs, op_select_rows_dx_inputs)));
}

/* Inputs dy [N,C], index. attr.target is dx's shape, [N,T,C]. */
static bool select_rows_dx_infer(graph *g, node *n)
{
    if (!check_activation(g, n, 0, "dy") || !check_rank(g, n, 0, "dy", 2, 2)) return false;
    const shape *dy = &n->input[0]->shape, *dx = &n->attr.target;
    if (!check_index(g, n, dy->dim[0])) return false;
    if (dx->rank != 3 || dx->dim[0] != dy->dim[0] || dx->dim[2] != dy->dim[1])
        return check_fail(g, n, "shapes of dy and dx don't agree");
    graph_set_output(g, n, 0, graph_dtype(g), *dx);
    return true;
}

const op_rule op_select_rows_rule = {OP_RULE(select_rows), .infer = select_rows_infer, .grad = select_rows_grad};
const op_rule op_select_rows_dx_rule = {OP_RULE(select_rows_dx), .infer = select_rows_dx_infer};
