/* y[n,i,j,c] = x[n, floor(i H / height), floor(j W / width), c]; dx sums dy over the pixels that came from each. */
#include <inttypes.h>

#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_upsample(graph *g, tensor *x, int64_t height, int64_t width)
{
    const node_attr attr = {.target = {.rank = 2, .dim = {height, width}}};
    return node_output(graph_node(g, OP_UPSAMPLE, &attr, (tensor *[]){x}, op_upsample_inputs));
}

/* attr.target is [height,width]. */
static bool upsample_infer(graph *g, node *n)
{
    char text[TENSOR_TEXT];
    if (!check_activation(g, n, 0, "x") || !check_rank(g, n, 0, "x", 4, 4)) return false;
    const shape *x = &n->input[0]->shape, *target = &n->attr.target;
    if (target->dim[0] < x->dim[1] || target->dim[1] < x->dim[2]) {
        return check_fail(g, n, "x %s is larger than the %" PRId64 " x %" PRId64 " wanted",
                          tensor_text(n->input[0], text), target->dim[0], target->dim[1]);
    }
    graph_set_output(g, n, 0, graph_dtype(g), SHAPE(x->dim[0], target->dim[0], target->dim[1], x->dim[3]));
    return true;
}

static void upsample_grad(gradients *w, const node *n, tensor *dy)
{
    tensor *x = n->input[0];
    if (!gradients_wanted(w, x)) return;
    const node_attr attr = {.target = x->shape};
    node *dx = graph_node(gradients_graph(w), OP_UPSAMPLE_DX, &attr, (tensor *[]){dy}, op_upsample_dx_inputs);
    gradients_add(w, x, node_output(dx));
}

/* Input dy [N,height,width,C]. attr.target is dx's shape, [N,H,W,C]. */
static bool upsample_dx_infer(graph *g, node *n)
{
    if (!check_activation(g, n, 0, "dy") || !check_rank(g, n, 0, "dy", 4, 4)) return false;
    const shape *dy = &n->input[0]->shape, *dx = &n->attr.target;
    if (dx->rank != 4 || dx->dim[0] != dy->dim[0] || dx->dim[3] != dy->dim[3] || dx->dim[1] > dy->dim[1] ||
        dx->dim[2] > dy->dim[2]) {
        return check_fail(g, n, "shapes of dy and dx don't agree");
    }
    graph_set_output(g, n, 0, graph_dtype(g), *dx);
    return true;
}

const op_rule op_upsample_rule = {OP_RULE(upsample), .infer = upsample_infer, .grad = upsample_grad};
const op_rule op_upsample_dx_rule = {OP_RULE(upsample_dx), .infer = upsample_dx_infer};
