/* y[n,t] = x[n,t] + rows[ids[n,t] - from] where that is a row; dx = dy, drows[r] = sum of dy[n,t] where ids[n,t] = from
 * + r.
 */
#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_add_rows(graph *g, tensor *x, tensor *ids, tensor *rows, int64_t from)
{
    const node_attr attr = {.from = from};
    return node_output(graph_node(g, OP_ADD_ROWS, &attr, (tensor *[]){x, ids, rows}, op_add_rows_inputs));
}

/* x (or dy) at input 0 and ids at input 1 belong together. */
static bool check_tokens(graph *g, node *n, const char *role)
{
    if (!check_activation(g, n, 0, role) || !check_rank(g, n, 0, role, 3, 3)) return false;
    const shape *x = &n->input[0]->shape;
    shape ids = SHAPE(x->dim[0], x->dim[1]);
    return check_value(g, n, 1, "ids", DTYPE_I32) && check_shape(g, n, 1, "ids", &ids);
}

static bool add_rows_infer(graph *g, node *n)
{
    char x_text[TENSOR_TEXT], rows_text[TENSOR_TEXT];
    if (!check_tokens(g, n, "x")) return false;
    if (!check_present(g, n, 2, "rows") || !check_rank(g, n, 2, "rows", 2, 2)) return false;
    const tensor *x = n->input[0], *rows = n->input[2];
    if (rows->kind != TENSOR_PARAM || shape_last(&rows->shape) != shape_last(&x->shape))
        return check_fail(g, n, "rows %s are not params, or not as wide as x %s", tensor_text(rows, rows_text),
                          tensor_text(x, x_text));
    graph_set_output(g, n, 0, graph_dtype(g), x->shape);
    return true;
}

static void add_rows_grad(gradients *w, const node *n, tensor *dy)
{
    tensor *x = n->input[0], *rows = n->input[2];
    if (gradients_wanted(w, rows)) {
        const node_attr attr = {.from = n->attr.from, .target = rows->shape};
        tensor *inputs[] = {dy, n->input[1], gradients_so_far(w, rows)};
        gradients_set(
            w, rows, node_output(graph_node(gradients_graph(w), OP_ADD_ROWS_DW, &attr, inputs, op_add_rows_dw_inputs)));
    }
    if (gradients_wanted(w, x)) gradients_add(w, x, dy);
}

/* Inputs dy, ids, add. */
static bool add_rows_dw_infer(graph *g, node *n)
{
    const shape *rows = &n->attr.target;
    if (!check_tokens(g, n, "dy")) return false;
    if (n->input[2] != NULL &&
        (!check_value(g, n, 2, "add", graph_exact_dtype(g)) || !check_shape(g, n, 2, "add", rows)))
        return false;
    graph_set_output(g, n, 0, graph_exact_dtype(g), *rows);
    return true;
}

const op_rule op_add_rows_rule = {OP_RULE(add_rows), .infer = add_rows_infer, .grad = add_rows_grad};
const op_rule op_add_rows_dw_rule = {OP_RULE(add_rows_dw), .infer = add_rows_dw_infer};
