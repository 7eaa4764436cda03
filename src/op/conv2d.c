/* y[n,i,j,o] = b[o] + add[n,i,j,o] + sum over c,p,q of x[n, i stride + p - top, j stride + q - left, c] w[o,c,p,q],
 * x being zero outside the image; and its gradients. */
#include <inttypes.h>

#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_conv2d(graph *g, tensor *x, tensor *w, tensor *b, tensor *add, int stride, const int pad[4])
{
    node_attr attr = {.stride = stride};
    for (int i = 0; i < 4; i++) attr.pad[i] = pad[i];
    return node_output(graph_node(g, OP_CONV2D, &attr, (tensor *[]){x, w, b, add}, op_conv2d_inputs));
}

/* Frozen or a param, [O,I,kh,kw]. */
static bool check_kernel(graph *g, const node *n, int input)
{
    return check_weight_or_param(g, n, input, "weight") && check_rank(g, n, input, "weight", 4, 4);
}

/* Sets height and width of y from those of x and the attributes. */
static bool output_size(graph *g, const node *n, const shape *x, const shape *w, shape *y)
{
    const node_attr *a = &n->attr;
    if (a->stride != 1 && a->stride != 2) return check_fail(g, n, "stride is %d, 1 or 2 are supported", a->stride);
    for (int i = 0; i < 2; i++) {
        if (a->pad[i] < 0 || a->pad[i + 2] < 0) return check_fail(g, n, "padding is negative");
        int64_t room = x->dim[1 + i] + a->pad[i] + a->pad[i + 2] - w->dim[2 + i];
        if (room < 0) {
            char text[SHAPE_TEXT], kernel[SHAPE_TEXT];
            return check_fail(g, n, "padded image %s is smaller than the kernel %s", shape_format(x, text),
                              shape_format(w, kernel));
        }
        y->dim[1 + i] = room / a->stride + 1;
    }
    return true;
}

static bool conv2d_infer(graph *g, node *n)
{
    char x_text[TENSOR_TEXT], w_text[TENSOR_TEXT];
    if (!check_activation(g, n, 0, "x") || !check_rank(g, n, 0, "x", 4, 4) || !check_kernel(g, n, 1)) return false;
    const shape *x = &n->input[0]->shape, *w = &n->input[1]->shape;
    if (x->dim[3] != w->dim[1]) {
        return check_fail(g, n, "x %s has %" PRId64 " channels, weight %s wants %" PRId64,
                          tensor_text(n->input[0], x_text), x->dim[3], tensor_text(n->input[1], w_text), w->dim[1]);
    }
    shape y = {.rank = 4, .dim = {x->dim[0], 0, 0, w->dim[0]}};
    if (!output_size(g, n, x, w, &y)) return false;
    if (n->input[2] != NULL && !check_channel_weight(g, n, 2, "bias", w->dim[0])) return false;
    if (!check_optional_like(g, n, 3, "add", &y)) return false;
    graph_set_output(g, n, 0, graph_dtype(g), y);
    return true;
}

static void conv2d_grad(gradients *w, const node *n, tensor *dy)
{
    tensor *x = n->input[0], *kernel = n->input[1], *add = n->input[3];
    if (gradients_wanted(w, kernel)) {
        node_attr attr = n->attr;
        attr.target = kernel->shape;
        tensor *inputs[] = {dy, x, gradients_so_far(w, kernel)};
        node *dw = graph_node(gradients_graph(w), OP_CONV2D_DW, &attr, inputs, op_conv2d_dw_inputs);
        gradients_set(w, kernel, node_output(dw));
    }
    if (gradients_wanted(w, x)) {
        node_attr attr = n->attr;
        attr.target = x->shape;
        tensor *inputs[] = {dy, n->input[1], gradients_so_far(w, x)};
        node *dx = graph_node(gradients_graph(w), OP_CONV2D_DX, &attr, inputs, op_conv2d_dx_inputs);
        gradients_set(w, x, node_output(dx));
    }
    if (gradients_wanted(w, add)) gradients_add(w, add, dy);
}

/* Inputs dy [N,Ho,Wo,O], w [O,I,kh,kw], add [N,H,W,I]. attr.target is [N,H,W,I]: with stride 2 dy doesn't tell. */
static bool conv2d_dx_infer(graph *g, node *n)
{
    const shape *dx = &n->attr.target;
    if (!check_activation(g, n, 0, "dy") || !check_kernel(g, n, 1)) return false;
    const shape *w = &n->input[1]->shape;
    if (dx->rank != 4 || dx->dim[3] != w->dim[1]) return check_fail(g, n, "shapes of dx and the weight don't agree");
    shape dy = {.rank = 4, .dim = {dx->dim[0], 0, 0, w->dim[0]}};
    if (!output_size(g, n, dx, w, &dy) || !check_shape(g, n, 0, "dy", &dy)) return false;
    if (!check_optional_like(g, n, 2, "add", dx)) return false;
    graph_set_output(g, n, 0, graph_dtype(g), *dx);
    return true;
}

/* Inputs dy [N,Ho,Wo,O], x [N,H,W,I], add: dW's shape, E. attr.target is dW's shape. */
static bool conv2d_dw_infer(graph *g, node *n)
{
    const shape *dw = &n->attr.target;
    if (!check_activation(g, n, 0, "dy") || !check_activation(g, n, 1, "x") || !check_rank(g, n, 1, "x", 4, 4))
        return false;
    const shape *x = &n->input[1]->shape;
    if (dw->rank != 4 || dw->dim[1] != x->dim[3]) return check_fail(g, n, "shapes of dw and x don't agree");
    shape dy = {.rank = 4, .dim = {x->dim[0], 0, 0, dw->dim[0]}};
    if (!output_size(g, n, x, dw, &dy) || !check_shape(g, n, 0, "dy", &dy)) return false;
    if (n->input[2] != NULL && (!check_value(g, n, 2, "add", graph_exact_dtype(g)) || !check_shape(g, n, 2, "add", dw)))
        return false;
    graph_set_output(g, n, 0, graph_exact_dtype(g), *dw);
    return true;
}

static double conv2d_dw_flops(const node *n)
{
    return 2.0 * (double)shape_rows(&n->input[0]->shape) * (double)shape_count(&n->attr.target);
}

/* The same for both: y or dy [N,Ho,Wo,O] with w [O,I,kh,kw]. */
static double conv2d_flops(const node *n)
{
    const tensor *y = n->op == OP_CONV2D ? n->output[0] : n->input[0];
    return 2.0 * (double)shape_rows(&y->shape) * (double)shape_count(&n->input[1]->shape);
}

const op_rule op_conv2d_rule = {OP_RULE(conv2d), .infer = conv2d_infer, .grad = conv2d_grad, .flops = conv2d_flops};
const op_rule op_conv2d_dx_rule = {OP_RULE(conv2d_dx), .infer = conv2d_dx_infer, .flops = conv2d_flops};
const op_rule op_conv2d_dw_rule = {OP_RULE(conv2d_dw), .infer = conv2d_dw_infer, .flops = conv2d_dw_flops};
