#include "backend/backend.h"

#include <string.h>

const backend *backend_find(const char *name)
{
    static const backend *const all[] = {&backend_cpu, &backend_ref};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(all[i]->name, name) == 0) return all[i];
    }
    return NULL;
}

static double linear_flops(const node *n)
{
    /* linear_dw multiplies dy [rows,N] with x [rows,K]; the others x or dy [rows,..] with w [N,K]. */
    if (n->op == OP_LINEAR_DW) {
        return 2.0 * (double)shape_count(&n->input[0]->shape) * (double)shape_last(&n->input[1]->shape);
    }
    const shape *w = &n->input[1]->shape;
    return 2.0 * (double)shape_rows(&n->input[0]->shape) * (double)shape_count(w);
}

static double conv2d_flops(const node *n)
{
    const tensor *y = n->op == OP_CONV2D ? n->output[0] : n->input[0];
    const shape *w = &n->input[1]->shape;
    return 2.0 * (double)shape_rows(&y->shape) * (double)shape_count(w);
}

static double attention_flops(const node *n)
{
    const shape *q = &n->input[0]->shape, *k = &n->input[1]->shape;
    double product = 2.0 * (double)shape_count(q) * (double)(shape_rows(k) / k->dim[0]); /* k may be [N,H,W,C] */
    /* Forward: q k^T and p v. Backward: q k^T again, then do v^T and one product for each gradient. */
    if (n->op == OP_ATTENTION) return 2 * product;
    return product * (2 + n->attr.want_q + n->attr.want_k + n->attr.want_v);
}

double node_flops(const node *n)
{
    switch (n->op) {
    case OP_LINEAR:
    case OP_LINEAR_DX:
    case OP_LINEAR_DW:
        return linear_flops(n);
    case OP_CONV2D:
    case OP_CONV2D_DX:
        return conv2d_flops(n);
    case OP_ATTENTION:
    case OP_ATTENTION_GRAD:
        return attention_flops(n);
    default:
        return 0;
    }
}
