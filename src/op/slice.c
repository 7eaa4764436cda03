/* y = channels [from, from + length) of x. */
#include <inttypes.h>

#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_slice(graph *g, tensor *x, int64_t from, int64_t length)
{
    const node_attr attr = {.from = from, .length = length};
    return node_output(graph_node(g, OP_SLICE, &attr, (tensor *[]){x}, op_slice_inputs));
}

static bool slice_infer(graph *g, node *n)
{
    char text[TENSOR_TEXT];
    if (!check_activation(g, n, 0, "x") || !check_rank(g, n, 0, "x", 1, TENSOR_MAX_DIMS)) return false;
    const tensor *x = n->input[0];
    int64_t from = n->attr.from, length = n->attr.length, channels = shape_last(&x->shape);
    if (from < 0 || length <= 0 || from > channels || length > channels - from) {
        return check_fail(g, n, "x %s has no %" PRId64 " channels from %" PRId64 " on", tensor_text(x, text), length,
                          from);
    }
    graph_set_output(g, n, 0, graph_dtype(g), shape_with_last(x->shape, length));
    return true;
}

const op_rule op_slice_rule = {OP_RULE(slice), .infer = slice_infer};
