/* y = a then b along the last dimension; da, db are dy's first and last channels. */
#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_concat(graph *g, tensor *a, tensor *b)
{
    return node_output(graph_node(g, OP_CONCAT, &(node_attr){0}, (tensor *[]){a, b}, op_concat_inputs));
}

static bool concat_infer(graph *g, node *n)
{
    char a_text[TENSOR_TEXT], b_text[TENSOR_TEXT];
    if (!check_activation(g, n, 0, "a") || !check_activation(g, n, 1, "b")) return false;
    if (!check_rank(g, n, 0, "a", 1, TENSOR_MAX_DIMS)) return false;
    const tensor *a = n->input[0], *b = n->input[1];
    shape as_b = shape_with_last(a->shape, shape_last(&b->shape));
    if (!shape_equal(&as_b, &b->shape)) {
        return check_fail(g, n, "%s and %s differ in more than channels", tensor_text(a, a_text),
                          tensor_text(b, b_text));
    }
    graph_set_output(g, n, 0, graph_dtype(g), shape_with_last(a->shape, shape_last(&a->shape) + shape_last(&b->shape)));
    return true;
}

static void concat_grad(gradients *w, const node *n, tensor *dy)
{
    int64_t from = 0;
    for (int i = 0; i < 2; i++) {
        tensor *part = n->input[i];
        int64_t length = shape_last(&part->shape);
        if (gradients_wanted(w, part)) gradients_add(w, part, op_slice(gradients_graph(w), dy, from, length));
        from += length;
    }
}

const op_rule op_concat_rule = {OP_RULE(concat), .infer = concat_infer, .grad = concat_grad};
