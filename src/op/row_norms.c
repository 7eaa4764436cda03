/* q = 1 / norm of the rows (or columns) of W + scale * b a. A constant in the gradient: Liu et al., "DoRA:
 * weight-decomposed low-rank adaptation" (2024), section 4.3, as PEFT has it. */
#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_row_norms(graph *g, tensor *w, tensor *b, tensor *a, float scale, bool by_column)
{
    const node_attr attr = {.scale = scale, .by_column = by_column};
    return node_output(graph_node(g, OP_ROW_NORMS, &attr, (tensor *[]){w, b, a}, op_row_norms_inputs));
}

static bool row_norms_infer(graph *g, node *n)
{
    char w_text[TENSOR_TEXT], b_text[TENSOR_TEXT], a_text[TENSOR_TEXT];
    if (!check_weight(g, n, 0, "weight") || !check_rank(g, n, 0, "weight", 2, 4)) return false;
    if (!check_exact(g, n, 1, "b") || !check_exact(g, n, 2, "a")) return false;
    const shape *w = &n->input[0]->shape, *b = &n->input[1]->shape, *a = &n->input[2]->shape;
    const int64_t columns = shape_count(w) / w->dim[0], rank = shape_count(b) / w->dim[0];
    if (b->dim[0] != w->dim[0] || a->dim[0] != rank || shape_count(a) != rank * columns)
        return check_fail(g, n, "%s and %s don't make a change of %s", tensor_text(n->input[1], b_text),
                          tensor_text(n->input[2], a_text), tensor_text(n->input[0], w_text));
    graph_set_output(g, n, 0, graph_exact_dtype(g), SHAPE(w->dim[n->attr.by_column ? 1 : 0]));
    return true;
}

static void row_norms_grad(gradients *w, const node *n, tensor *dy)
{
    (void)w;
    (void)n;
    (void)dy;
}

static double row_norms_flops(const node *n)
{
    return 2.0 * (double)shape_count(&n->input[0]->shape) * (double)(n->input[2]->shape.dim[0] + 1);
}

const op_rule op_row_norms_rule = {OP_RULE(row_norms), .infer = row_norms_infer, .grad = row_norms_grad,
                                   .flops = row_norms_flops};
