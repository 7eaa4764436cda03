/* y = a * b element by element; da = dy * b, db = dy * a. */
#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_multiply(graph *g, tensor *a, tensor *b)
{
    return node_output(graph_node(g, OP_MULTIPLY, &(node_attr){0}, (tensor *[]){a, b}, op_multiply_inputs));
}

static bool multiply_infer(graph *g, node *n)
{
    char a_text[TENSOR_TEXT], b_text[TENSOR_TEXT];
    if (!check_present(g, n, 0, "a") || !check_present(g, n, 1, "b")) return false;
    const tensor *a = n->input[0], *b = n->input[1];
    const bool computed = a->kind != TENSOR_WEIGHT && b->kind != TENSOR_WEIGHT && a->type == b->type;
    if (!computed || !shape_equal(&a->shape, &b->shape))
        return check_fail(g, n, "shapes or types of %s and %s differ, or one is a weight", tensor_text(a, a_text),
                          tensor_text(b, b_text));
    if (a->type != graph_dtype(g) && a->type != graph_exact_dtype(g))
        return check_fail(g, n, "%s is %s", tensor_text(a, a_text), dtype_name(a->type));
    graph_set_output(g, n, 0, a->type, a->shape);
    return true;
}

static void multiply_grad(gradients *w, const node *n, tensor *dy)
{
    for (int i = 0; i < 2; i++)
        if (gradients_wanted(w, n->input[i]))
            gradients_add(w, n->input[i], op_multiply(gradients_graph(w), dy, n->input[1 - i]));
}

const op_rule op_multiply_rule = {OP_RULE(multiply), .infer = multiply_infer, .grad = multiply_grad};
