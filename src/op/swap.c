/* y[a,b,c,d] = x[a,c,b,d]; dx is the same of dy. */
#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

static tensor *swapped(graph *g, tensor *x, const int64_t dim[4], const shape *target)
{
    node_attr attr = {.target = *target};
    for (int i = 0; i < 4; i++) attr.dim[i] = dim[i];
    return node_output(graph_node(g, OP_SWAP, &attr, (tensor *[]){x}, op_swap_inputs));
}

tensor *op_swap(graph *g, tensor *x, const int64_t dim[4], shape target)
{
    return swapped(g, x, dim, &target);
}

static bool swap_infer(graph *g, node *n)
{
    char text[TENSOR_TEXT];
    if (!check_exact(g, n, 0, "x")) return false;
    const shape as_read = shape_of(4, n->attr.dim);
    const int64_t count = shape_count(&n->input[0]->shape);
    if (shape_count(&as_read) != count || shape_count(&n->attr.target) != count)
        return check_fail(g, n, "%s doesn't have the elements of x as it is read, and of y",
                          tensor_text(n->input[0], text));
    graph_set_output(g, n, 0, graph_exact_dtype(g), n->attr.target);
    return true;
}

static void swap_grad(gradients *w, const node *n, tensor *dy)
{
    const int64_t *dim = n->attr.dim, back[] = {dim[0], dim[2], dim[1], dim[3]};
    tensor *x = n->input[0];
    if (gradients_wanted(w, x)) gradients_add(w, x, swapped(gradients_graph(w), dy, back, &x->shape));
}

const op_rule op_swap_rule = {OP_RULE(swap), .infer = swap_infer, .grad = swap_grad};
