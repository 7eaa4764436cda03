/* o = P v for each head, P = exp(scale q k^T - lse), lse the log-sum-exp of each row of scale q k^T. With
 * delta = sum(do * o) of each row and dS = P * (do v^T - delta):
 *     dq = scale dS k;   dk = scale dS^T q;   dv = P^T do. */
#include <inttypes.h>
#include <math.h>

#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_attention(graph *g, tensor *q, tensor *k, tensor *v, int heads, float scale, bool causal)
{
    node_attr attr = {.heads = heads, .scale = scale, .causal = causal};
    if (scale == 0 && q != NULL && heads > 0 && shape_last(&q->shape) >= heads) {
        attr.scale = 1 / sqrtf((float)(shape_last(&q->shape) / heads));
    }
    return node_output(graph_node(g, OP_ATTENTION, &attr, (tensor *[]){q, k, v}, op_attention_inputs));
}

/* Inputs 0 to 2: q [N,Tq,heads*D], k and v [N,Tk,heads*D]. */
static bool check_heads(graph *g, const node *n)
{
    static const char *const roles[] = {"q", "k", "v"};
    char q_text[TENSOR_TEXT], k_text[TENSOR_TEXT];
    for (int i = 0; i < 3; i++) {
        if (!check_activation(g, n, i, roles[i]) || !check_rank(g, n, i, roles[i], 3, TENSOR_MAX_DIMS)) return false;
    }
    const tensor *q = n->input[0], *k = n->input[1];
    if (q->shape.dim[0] != k->shape.dim[0] || shape_last(&q->shape) != shape_last(&k->shape)) {
        return check_fail(g, n, "q %s and k %s differ in batch or channels", tensor_text(q, q_text),
                          tensor_text(k, k_text));
    }
    if (!check_shape(g, n, 2, "v", &k->shape)) return false;
    if (n->attr.heads <= 0 || shape_last(&q->shape) % n->attr.heads != 0) {
        return check_fail(g, n, "q %s: %" PRId64 " channels don't make %d heads", tensor_text(q, q_text),
                          shape_last(&q->shape), n->attr.heads);
    }
    if (n->attr.causal && shape_rows(&q->shape) != shape_rows(&k->shape)) {
        return check_fail(g, n, "causal attention wants as many keys as queries, q is %s and k %s",
                          tensor_text(q, q_text), tensor_text(k, k_text));
    }
    return true;
}

static shape lse_shape(const node *n)
{
    const shape *q = &n->input[0]->shape;
    return SHAPE(q->dim[0], n->attr.heads, shape_rows(q) / q->dim[0]);
}

static bool attention_infer(graph *g, node *n)
{
    if (!check_heads(g, n)) return false;
    graph_set_output(g, n, 0, graph_dtype(g), n->input[0]->shape);
    graph_set_output(g, n, 1, graph_exact_dtype(g), lse_shape(n));
    return true;
}

static void attention_grad(gradients *w, const node *n, tensor *dy)
{
    tensor *q = n->input[0], *k = n->input[1], *v = n->input[2];
    node_attr attr = n->attr;
    attr.want_q = gradients_wanted(w, q);
    attr.want_k = gradients_wanted(w, k);
    attr.want_v = gradients_wanted(w, v);
    if (!attr.want_q && !attr.want_k && !attr.want_v) return;
    tensor *inputs[] = {q, k, v, n->output[0], n->output[1], dy};
    const node *d = graph_node(gradients_graph(w), OP_ATTENTION_GRAD, &attr, inputs, op_attention_grad_inputs);
    if (d == NULL) return;
    if (attr.want_q) gradients_add(w, q, d->output[0]);
    if (attr.want_k) gradients_add(w, k, d->output[1]);
    if (attr.want_v) gradients_add(w, v, d->output[2]);
}

/* Inputs q, k, v, o, lse, do. Outputs dq, dk, dv, each only where wanted. */
static bool attention_grad_infer(graph *g, node *n)
{
    if (!check_heads(g, n)) return false;
    const shape *q = &n->input[0]->shape, *k = &n->input[1]->shape;
    shape lse = lse_shape(n);
    if (!check_activation(g, n, 3, "o") || !check_shape(g, n, 3, "o", q)) return false;
    if (!check_value(g, n, 4, "lse", graph_exact_dtype(g)) || !check_shape(g, n, 4, "lse", &lse)) return false;
    if (!check_activation(g, n, 5, "do") || !check_shape(g, n, 5, "do", q)) return false;
    if (n->attr.want_q) graph_set_output(g, n, 0, graph_dtype(g), *q);
    if (n->attr.want_k) graph_set_output(g, n, 1, graph_dtype(g), *k);
    if (n->attr.want_v) graph_set_output(g, n, 2, graph_dtype(g), *k);
    return true;
}

static double product_flops(const node *n)
{
    const shape *q = &n->input[0]->shape, *k = &n->input[1]->shape;
    return 2.0 * (double)shape_count(q) * (double)(shape_rows(k) / k->dim[0]); /* k may be [N,H,W,C] */
}

/* q k^T and p v. */
static double attention_flops(const node *n)
{
    return 2 * product_flops(n);
}

/* q k^T again, then do v^T and one product for each gradient. */
static double attention_grad_flops(const node *n)
{
    return product_flops(n) * (2 + n->attr.want_q + n->attr.want_k + n->attr.want_v);
}

const op_rule op_attention_rule = {OP_RULE(attention), .infer = attention_infer, .grad = attention_grad,
                                   .flops = attention_flops};
const op_rule op_attention_grad_rule = {OP_RULE(attention_grad), .infer = attention_grad_infer,
                                        .flops = attention_grad_flops};
