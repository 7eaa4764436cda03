/* y = a + b; da = db = dy. */
#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_add(graph *g, tensor *a, tensor *b)
{
    return node_output(graph_node(g, OP_ADD, &(node_attr){0}, (tensor *[]){a, b}, op_add_inputs));
}

static bool add_infer(graph *g, node *n)
{
    char a_text[TENSOR_TEXT], b_text[TENSOR_TEXT];
    if (!check_activation(g, n, 0, "a") || !check_activation(g, n, 1, "b")) return false;
    const tensor *a = n->input[0], *b = n->input[1];
    if (!shape_equal(&a->shape, &b->shape)) {
        return check_fail(g, n, "shapes of %s and %s differ", tensor_text(a, a_text), tensor_text(b, b_text));
    }
    graph_set_output(g, n, 0, graph_dtype(g), a->shape);
    return true;
}

static void add_grad(gradients *w, const node *n, tensor *dy)
{
    for (int i = 0; i < 2; i++) {
        if (gradients_wanted(w, n->input[i])) gradients_add(w, n->input[i], dy);
    }
}

const op_rule op_add_rule = {OP_RULE(add), .infer = add_infer, .grad = add_grad};
