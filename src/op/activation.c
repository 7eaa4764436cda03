/* y = act(x); dx = dy act'(x).
 * ACT_SILU x s(x), s the logistic function; ACT_GELU x Phi(x), Phi the normal distribution function; ACT_QUICK_GELU
 * x s(1.702 x). */
#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_activation(graph *g, tensor *x, activation act)
{
    return node_output(graph_node(g, OP_ACTIVATION, &(node_attr){.act = act}, (tensor *[]){x}, op_activation_inputs));
}

static bool activation_infer(graph *g, node *n)
{
    if (!check_activation(g, n, 0, "x")) return false;
    if (n->attr.act != ACT_SILU && n->attr.act != ACT_GELU && n->attr.act != ACT_QUICK_GELU) {
        return check_fail(g, n, "unknown activation %d", (int)n->attr.act);
    }
    graph_set_output(g, n, 0, graph_dtype(g), n->input[0]->shape);
    return true;
}

static void activation_grad(gradients *w, const node *n, tensor *dy)
{
    tensor *x = n->input[0];
    if (!gradients_wanted(w, x)) return;
    tensor *inputs[] = {dy, x};
    node *dx = graph_node(gradients_graph(w), OP_ACTIVATION_DX, &n->attr, inputs, op_activation_dx_inputs);
    gradients_add(w, x, node_output(dx));
}

/* Inputs dy, x. */
static bool activation_dx_infer(graph *g, node *n)
{
    if (!check_activation(g, n, 0, "dy") || !check_activation(g, n, 1, "x")) return false;
    if (!check_shape(g, n, 0, "dy", &n->input[1]->shape)) return false;
    graph_set_output(g, n, 0, graph_dtype(g), n->input[1]->shape);
    return true;
}

const op_rule op_activation_rule = {OP_RULE(activation), .infer = activation_infer, .grad = activation_grad};
const op_rule op_activation_dx_rule = {OP_RULE(activation_dx), .infer = activation_dx_infer};
