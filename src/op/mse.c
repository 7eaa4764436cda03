/* loss = mean((x - target)^2); dx = 2 (x - target) dloss / count. */
#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_mse(graph *g, tensor *x, tensor *target)
{
    return node_output(graph_node(g, OP_MSE, &(node_attr){0}, (tensor *[]){x, target}, op_mse_inputs));
}

static bool check_pair(graph *g, const node *n)
{
    if (!check_activation(g, n, 0, "x") || !check_present(g, n, 1, "target")) return false;
    dtype type = n->input[1]->type == graph_dtype(g) ? graph_dtype(g) : graph_exact_dtype(g);
    return check_value(g, n, 1, "target", type) && check_shape(g, n, 1, "target", &n->input[0]->shape);
}

static bool mse_infer(graph *g, node *n)
{
    if (!check_pair(g, n)) return false;
    graph_set_output(g, n, 0, graph_exact_dtype(g), (shape){0});
    return true;
}

static void mse_grad(gradients *w, const node *n, tensor *dy)
{
    graph *g = gradients_graph(w);
    tensor *x = n->input[0], *target = n->input[1];
    if (gradients_wanted(w, target)) check_fail(g, n, "no gradient is defined for the target");
    if (!gradients_wanted(w, x)) return;
    tensor *inputs[] = {x, target, dy};
    gradients_add(w, x, node_output(graph_node(g, OP_MSE_DX, &(node_attr){0}, inputs, op_mse_dx_inputs)));
}

/* Inputs x, target, dloss: a scalar E; 1 where absent. */
static bool mse_dx_infer(graph *g, node *n)
{
    shape scalar = {0};
    if (!check_pair(g, n)) return false;
    if (n->input[2] != NULL &&
        (!check_value(g, n, 2, "dloss", graph_exact_dtype(g)) || !check_shape(g, n, 2, "dloss", &scalar))) {
        return false;
    }
    graph_set_output(g, n, 0, graph_dtype(g), n->input[0]->shape);
    return true;
}

const op_rule op_mse_rule = {OP_RULE(mse), .infer = mse_infer, .grad = mse_grad};
const op_rule op_mse_dx_rule = {OP_RULE(mse_dx), .infer = mse_dx_infer};
