/* w = scale * (a b) * (c d), element by element, and the gradients of its factors:
 *     da = scale * (dw * (c d)) b^T + add,      db = scale * a^T (dw * (c d)) + add
 * The formula has two halves: dc is da with a and c, b and d changed over; likewise dd. */
#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_hadamard(graph *g, tensor *a, tensor *b, tensor *c, tensor *d, float scale, shape target)
{
    const node_attr attr = {.scale = scale, .target = target};
    return node_output(graph_node(g, OP_HADAMARD, &attr, (tensor *[]){a, b, c, d}, op_hadamard_inputs));
}

static bool check_factor(graph *g, const node *n, int input, const char *role)
{
    char text[TENSOR_TEXT];
    if (!check_present(g, n, input, role) || !check_rank(g, n, input, role, 2, 2)) return false;
    if (n->input[input]->kind == TENSOR_PARAM) return true;
    return check_fail(g, n, "%s %s is not a parameter", role, tensor_text(n->input[input], text));
}

/* Inputs `first` [rows,rank] and the next [rank,columns]. */
static bool check_half(graph *g, const node *n, int first, const char *left, const char *right, int64_t rows,
                       int64_t columns)
{
    char l_text[TENSOR_TEXT], r_text[TENSOR_TEXT];
    if (!check_factor(g, n, first, left) || !check_factor(g, n, first + 1, right)) return false;
    const tensor *l = n->input[first], *r = n->input[first + 1];
    if (l->shape.dim[0] == rows && r->shape.dim[1] == columns && l->shape.dim[1] == r->shape.dim[0]) return true;
    return check_fail(g, n, "the product of %s %s and %s %s should be %lld x %lld", left, tensor_text(l, l_text), right,
                      tensor_text(r, r_text), (long long)rows, (long long)columns);
}

static int64_t columns_of(const shape *w)
{
    return shape_count(w) / w->dim[0];
}

static bool hadamard_infer(graph *g, node *n)
{
    const shape *w = &n->attr.target;
    if (w->rank < 2 || shape_count(w) < 1) return check_fail(g, n, "the result is not a matrix");
    if (!check_half(g, n, 0, "a", "b", w->dim[0], columns_of(w))) return false;
    if (!check_half(g, n, 2, "c", "d", w->dim[0], columns_of(w))) return false;
    graph_set_output(g, n, 0, graph_exact_dtype(g), *w);
    return true;
}

static void hadamard_grad(gradients *w, const node *n, tensor *dy)
{
    for (int k = 0; k < 4; k++) {
        tensor *factor = n->input[k];
        if (!gradients_wanted(w, factor)) continue;
        const int other = k < 2 ? 2 : 0;
        const bool left = k % 2 == 0;
        tensor *inputs[] = {dy, n->input[k ^ 1], n->input[other], n->input[other + 1], gradients_so_far(w, factor)};
        const node_attr attr = {.scale = n->attr.scale, .target = factor->shape};
        const op_code op = left ? OP_HADAMARD_DA : OP_HADAMARD_DB;
        gradients_set(w, factor, node_output(graph_node(gradients_graph(w), op, &attr, inputs, op_hadamard_da_inputs)));
    }
}

/* Inputs dw, the factor's partner, c, d, add: the factor's shape, which attr.target is. */
static bool check_gradient(graph *g, node *n, bool left)
{
    const shape *target = &n->attr.target;
    if (!check_value(g, n, 0, "dw", graph_exact_dtype(g)) || !check_factor(g, n, 1, "the partner")) return false;
    const shape *dw = &n->input[0]->shape, *partner = &n->input[1]->shape;
    const int64_t rows = left ? target->dim[0] : partner->dim[0], rank = left ? target->dim[1] : target->dim[0];
    const int64_t columns = left ? partner->dim[1] : target->dim[1];
    if (rows != dw->dim[0] || columns != columns_of(dw) || rank != partner->dim[left ? 0 : 1])
        return check_fail(g, n, "shapes of dw and the factors don't agree");
    if (!check_half(g, n, 2, "c", "d", rows, columns)) return false;
    if (n->input[4] != NULL &&
        (!check_value(g, n, 4, "add", graph_exact_dtype(g)) || !check_shape(g, n, 4, "add", target)))
        return false;
    graph_set_output(g, n, 0, graph_exact_dtype(g), *target);
    return true;
}

static bool hadamard_da_infer(graph *g, node *n)
{
    return check_gradient(g, n, true);
}

static bool hadamard_db_infer(graph *g, node *n)
{
    return check_gradient(g, n, false);
}

static double hadamard_flops(const node *n)
{
    const double ranks = (double)(n->input[0]->shape.dim[1] + n->input[2]->shape.dim[1]);
    return 2.0 * (double)shape_count(&n->output[0]->shape) * ranks;
}

/* c d, and the product with the partner. */
static double gradient_flops(const node *n)
{
    const shape *partner = &n->input[1]->shape;
    const int64_t rank = partner->dim[0] < partner->dim[1] ? partner->dim[0] : partner->dim[1];
    return 2.0 * (double)shape_count(&n->input[0]->shape) * (double)(rank + n->input[2]->shape.dim[1]);
}

const op_rule op_hadamard_rule = {OP_RULE(hadamard), .infer = hadamard_infer, .grad = hadamard_grad,
                                  .flops = hadamard_flops};
const op_rule op_hadamard_da_rule = {OP_RULE(hadamard_da), .infer = hadamard_da_infer, .flops = gradient_flops};
const op_rule op_hadamard_db_rule = {OP_RULE(hadamard_db), .infer = hadamard_db_infer, .flops = gradient_flops};
