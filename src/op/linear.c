/* y = scale * x W^T + b + add, its data gradient and its weight gradient. */
#include <inttypes.h>

#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_linear(graph *g, tensor *x, tensor *w, tensor *b, tensor *add, float scale)
{
    return node_output(
        graph_node(g, OP_LINEAR, &(node_attr){.scale = scale}, (tensor *[]){x, w, b, add}, op_linear_inputs));
}

/* Frozen or trainable, [N,K] or [N,K,1,1]. */
static bool check_matrix(graph *g, const node *n, int input)
{
    char text[TENSOR_TEXT];
    if (!check_weight_or_param(g, n, input, "weight")) return false;
    const tensor *w = n->input[input];
    const shape *s = &w->shape;
    if (s->rank == 2 || (s->rank == 4 && s->dim[2] == 1 && s->dim[3] == 1)) return true;
    return check_fail(g, n, "weight %s is neither [out,in] nor [out,in,1,1]", tensor_text(w, text));
}

/* Input 0's last dimension meets dimension `side` of the weight (0 out, 1 in). */
static bool check_product(graph *g, const node *n, const char *role, int side)
{
    char x_text[TENSOR_TEXT], w_text[TENSOR_TEXT];
    if (!check_activation(g, n, 0, role) || !check_rank(g, n, 0, role, 1, TENSOR_MAX_DIMS)) return false;
    if (!check_matrix(g, n, 1)) return false;
    const tensor *x = n->input[0], *w = n->input[1];
    if (shape_last(&x->shape) == w->shape.dim[side]) return true;
    return check_fail(g, n, "%s %s has %" PRId64 " channels, weight %s wants %" PRId64, role, tensor_text(x, x_text),
                      shape_last(&x->shape), tensor_text(w, w_text), w->shape.dim[side]);
}

static bool linear_infer(graph *g, node *n)
{
    if (!check_product(g, n, "x", 1)) return false;
    int64_t channels = n->input[1]->shape.dim[0];
    shape y = shape_with_last(n->input[0]->shape, channels);
    if (n->input[2] != NULL && !check_channel_weight(g, n, 2, "bias", channels)) return false;
    if (!check_optional_like(g, n, 3, "add", &y)) return false;
    graph_set_output(g, n, 0, graph_dtype(g), y);
    return true;
}

/* dx = scale * dy W; dW = scale * dy^T x; dadd = dy. */
static void linear_grad(gradients *w, const node *n, tensor *dy)
{
    graph *g = gradients_graph(w);
    tensor *x = n->input[0], *matrix = n->input[1], *add = n->input[3];
    const node_attr attr = {.scale = n->attr.scale};
    if (gradients_wanted(w, x)) {
        tensor *inputs[] = {dy, matrix, gradients_so_far(w, x)};
        gradients_set(w, x, node_output(graph_node(g, OP_LINEAR_DX, &attr, inputs, op_linear_dx_inputs)));
    }
    if (gradients_wanted(w, matrix)) {
        tensor *inputs[] = {dy, x, gradients_so_far(w, matrix)};
        node_attr shaped = attr;
        shaped.target = matrix->shape;
        gradients_set(w, matrix, node_output(graph_node(g, OP_LINEAR_DW, &shaped, inputs, op_linear_dw_inputs)));
    }
    if (gradients_wanted(w, add)) gradients_add(w, add, dy);
}

/* Inputs dy [..,N], w [N,K], add [..,K]. */
static bool linear_dx_infer(graph *g, node *n)
{
    if (!check_product(g, n, "dy", 0)) return false;
    shape dx = shape_with_last(n->input[0]->shape, n->input[1]->shape.dim[1]);
    if (!check_optional_like(g, n, 2, "add", &dx)) return false;
    graph_set_output(g, n, 0, graph_dtype(g), dx);
    return true;
}

/* Inputs dy [..,N], x [..,K], add: dW's shape, E. attr.target is dW's shape: [N,K] or [N,K,1,1]. */
static bool linear_dw_infer(graph *g, node *n)
{
    const shape *dw = &n->attr.target;
    if (!check_activation(g, n, 0, "dy") || !check_activation(g, n, 1, "x")) return false;
    const shape *dy = &n->input[0]->shape, *x = &n->input[1]->shape;
    if (dw->rank < 2 || shape_rows(dy) != shape_rows(x) || shape_last(dy) != dw->dim[0] ||
        shape_last(x) != dw->dim[1]) {
        return check_fail(g, n, "shapes of dy, x and dw don't agree");
    }
    if (n->input[2] != NULL &&
        (!check_value(g, n, 2, "add", graph_exact_dtype(g)) || !check_shape(g, n, 2, "add", dw))) {
        return false;
    }
    graph_set_output(g, n, 0, graph_exact_dtype(g), *dw);
    return true;
}

/* x or dy [rows,..] with w [N,K]. */
static double linear_flops(const node *n)
{
    return 2.0 * (double)shape_rows(&n->input[0]->shape) * (double)shape_count(&n->input[1]->shape);
}

/* dy [rows,N] with x [rows,K]. */
static double linear_dw_flops(const node *n)
{
    return 2.0 * (double)shape_count(&n->input[0]->shape) * (double)shape_last(&n->input[1]->shape);
}

const op_rule op_linear_rule = {OP_RULE(linear), .infer = linear_infer, .grad = linear_grad, .flops = linear_flops};
const op_rule op_linear_dx_rule = {OP_RULE(linear_dx), .infer = linear_dx_infer, .flops = linear_flops};
const op_rule op_linear_dw_rule = {OP_RULE(linear_dw), .infer = linear_dw_infer, .flops = linear_dw_flops};
