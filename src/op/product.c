/* y = scale * a b + add, of matrices of what is trained:  da = scale * dy b^T + add,  db = scale * a^T dy + add. */
#include <inttypes.h>

#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_product(graph *g, tensor *a, tensor *b, int64_t depth, float scale, shape target)
{
    const node_attr attr = {.scale = scale, .depth = depth, .target = target};
    return node_output(graph_node(g, OP_PRODUCT, &attr, (tensor *[]){a, b}, 2));
}

static bool product_infer(graph *g, node *n)
{
    char a_text[TENSOR_TEXT], b_text[TENSOR_TEXT], wanted[SHAPE_TEXT];
    const shape *y = &n->attr.target;
    if (!check_exact(g, n, 0, "a") || !check_exact(g, n, 1, "b")) return false;
    const int64_t a = shape_count(&n->input[0]->shape), b = shape_count(&n->input[1]->shape), depth = n->attr.depth;
    if (depth < 1 || a % depth || b % depth || a / depth * (b / depth) != shape_count(y))
        return check_fail(g, n, "%s and %s over %" PRId64 " don't make %s", tensor_text(n->input[0], a_text),
                          tensor_text(n->input[1], b_text), depth, shape_format(y, wanted));
    if (n->input[2] != NULL && (!check_exact(g, n, 2, "add") || !check_shape(g, n, 2, "add", y))) return false;
    graph_set_output(g, n, 0, graph_exact_dtype(g), *y);
    return true;
}

/* Only what op_product made comes here: neither matrix is turned, and there is no add. */
static void product_grad(gradients *w, const node *n, tensor *dy)
{
    for (int side = 0; side < 2; side++) {
        tensor *factor = n->input[side], *other = n->input[1 - side];
        if (!gradients_wanted(w, factor)) continue;
        node_attr attr = {.scale = n->attr.scale, .target = factor->shape};
        attr.depth = shape_count(&other->shape) / n->attr.depth;
        attr.turned[1 - side] = true;
        tensor *of_a[] = {dy, other, gradients_so_far(w, factor)};
        tensor *of_b[] = {other, dy, gradients_so_far(w, factor)};
        node *d = graph_node(gradients_graph(w), OP_PRODUCT, &attr, side == 0 ? of_a : of_b, op_product_inputs);
        gradients_set(w, factor, node_output(d));
    }
}

static double product_flops(const node *n)
{
    return 2.0 * (double)shape_count(&n->attr.target) * (double)n->attr.depth;
}

const op_rule op_product_rule = {OP_RULE(product), .infer = product_infer, .grad = product_grad,
                                 .flops = product_flops};
