/* loss = mean(2 c (sqrt((x - target)^2 + c^2) - c)); dx = 2 c (x - target) / sqrt((x - target)^2 + c^2) dloss / count.
 */
#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_huber(graph *g, tensor *x, tensor *target, tensor *c)
{
    return node_output(graph_node(g, OP_HUBER, &(node_attr){0}, (tensor *[]){x, target, c}, op_huber_inputs));
}

static bool check_three(graph *g, const node *n)
{
    const shape scalar = {0};
    if (!check_activation(g, n, 0, "x") || !check_present(g, n, 1, "target")) return false;
    dtype type = n->input[1]->type == graph_dtype(g) ? graph_dtype(g) : graph_exact_dtype(g);
    return check_value(g, n, 1, "target", type) && check_shape(g, n, 1, "target", &n->input[0]->shape) &&
           check_value(g, n, 2, "c", graph_exact_dtype(g)) && check_shape(g, n, 2, "c", &scalar);
}

static bool huber_infer(graph *g, node *n)
{
    if (!check_three(g, n)) return false;
    graph_set_output(g, n, 0, graph_exact_dtype(g), (shape){0});
    return true;
}

static void huber_grad(gradients *w, const node *n, tensor *dy)
{
    graph *g = gradients_graph(w);
    tensor *x = n->input[0], *target = n->input[1], *c = n->input[2];
    if (gradients_wanted(w, target)) check_fail(g, n, "no gradient is defined for the target");
    if (gradients_wanted(w, c)) check_fail(g, n, "no gradient is defined for c");
    if (!gradients_wanted(w, x)) return;
    tensor *inputs[] = {x, target, c, dy};
    gradients_add(w, x, node_output(graph_node(g, OP_HUBER_DX, &(node_attr){0}, inputs, op_huber_dx_inputs)));
}

/* Inputs x, target, c, dloss: a scalar E; 1 where absent. */
static bool huber_dx_infer(graph *g, node *n)
{
    const shape scalar = {0};
    if (!check_three(g, n)) return false;
    if (n->input[3] != NULL &&
        (!check_value(g, n, 3, "dloss", graph_exact_dtype(g)) || !check_shape(g, n, 3, "dloss", &scalar))) {
        return false;
    }
    graph_set_output(g, n, 0, graph_dtype(g), n->input[0]->shape);
    return true;
}

const op_rule op_huber_rule = {OP_RULE(huber), .infer = huber_infer, .grad = huber_grad};
const op_rule op_huber_dx_rule = {OP_RULE(huber_dx), .infer = huber_dx_infer};
