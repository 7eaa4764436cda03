/* y = gamma (x - mean) rstd + beta, mean and rstd = 1 / sqrt(var + eps) over one group of channels and all positions of
 * one sample; SiLU after it where asked. With z = (x - mean) rstd, dn the gradient before SiLU and averages over the
 * group:
 *     dx = rstd (gamma dn - average(gamma dn) - z average(gamma dn z)) + add. */
#include <inttypes.h>

#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_group_norm(graph *g, tensor *x, tensor *gamma, tensor *beta, int groups, float eps, bool silu)
{
    const node_attr attr = {.groups = groups, .eps = eps, .silu = silu};
    return node_output(graph_node(g, OP_GROUP_NORM, &attr, (tensor *[]){x, gamma, beta}, op_group_norm_inputs));
}

/* Inputs x, gamma, beta from index `first` on. */
static bool check_norm(graph *g, const node *n, int first)
{
    char text[TENSOR_TEXT];
    if (!check_activation(g, n, first, "x") || !check_rank(g, n, first, "x", 2, TENSOR_MAX_DIMS)) return false;
    int64_t channels = shape_last(&n->input[first]->shape);
    if (n->attr.groups <= 0 || channels % n->attr.groups != 0) {
        return check_fail(g, n, "x %s: %" PRId64 " channels don't make %d groups", tensor_text(n->input[first], text),
                          channels, n->attr.groups);
    }
    if (!(n->attr.eps > 0)) return check_fail(g, n, "eps is %g, it must be positive", (double)n->attr.eps);
    return check_channel_weight(g, n, first + 1, "gamma", channels) &&
           check_channel_weight(g, n, first + 2, "beta", channels);
}

static bool group_norm_infer(graph *g, node *n)
{
    if (!check_norm(g, n, 0)) return false;
    const shape *x = &n->input[0]->shape;
    graph_set_output(g, n, 0, graph_dtype(g), *x);
    graph_set_output(g, n, 1, graph_exact_dtype(g), SHAPE(x->dim[0], n->attr.groups, 2));
    return true;
}

static void group_norm_grad(gradients *w, const node *n, tensor *dy)
{
    tensor *x = n->input[0];
    if (!gradients_wanted(w, x)) return;
    tensor *inputs[] = {dy, x, n->input[1], n->input[2], n->output[1], gradients_so_far(w, x)};
    node *dx = graph_node(gradients_graph(w), OP_GROUP_NORM_DX, &n->attr, inputs, op_group_norm_dx_inputs);
    gradients_set(w, x, node_output(dx));
}

/* Inputs dy, x, gamma, beta (SiLU's gradient needs it), statistics [N,groups,2] E, add. */
static bool group_norm_dx_infer(graph *g, node *n)
{
    if (!check_norm(g, n, 1)) return false;
    const shape *x = &n->input[1]->shape;
    shape stats = SHAPE(x->dim[0], n->attr.groups, 2);
    if (!check_activation(g, n, 0, "dy") || !check_shape(g, n, 0, "dy", x)) return false;
    if (!check_value(g, n, 4, "statistics", graph_exact_dtype(g)) || !check_shape(g, n, 4, "statistics", &stats)) {
        return false;
    }
    if (!check_optional_like(g, n, 5, "add", x)) return false;
    graph_set_output(g, n, 0, graph_dtype(g), *x);
    return true;
}

const op_rule op_group_norm_rule = {OP_RULE(group_norm), .infer = group_norm_infer, .grad = group_norm_grad};
const op_rule op_group_norm_dx_rule = {OP_RULE(group_norm_dx), .infer = group_norm_dx_infer};
