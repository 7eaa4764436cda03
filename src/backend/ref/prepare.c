#include "backend/ref/ref.h"

leco_status ref_prepare(const node *n, dtype compute, kernel_plan *plan, leco_error *err)
{
    for (int i = 0; i < NODE_MAX_INPUTS; i++) {
        const tensor *t = n->input[i];
        if (t != NULL && t->kind == TENSOR_WEIGHT) LECO_TRY(weight_plain(t->weight, compute, &plan->weight[i], err));
    }
    if (n->op == OP_ATTENTION || n->op == OP_ATTENTION_GRAD) {
        /* One row of scores and one of a head. */
        const shape *q = &n->input[0]->shape, *k = &n->input[1]->shape;
        int64_t keys = shape_rows(k) / k->dim[0], width = shape_last(q) / n->attr.heads;
        plan->scratch_bytes = (size_t)(keys + width) * sizeof(double);
    }
    return LECO_OK;
}
