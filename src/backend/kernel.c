#include "backend/backend.h"

#include "base/file.h"

static weight *weight_of(const node *n, int input)
{
    const tensor *t = n->input[input];
    return t != NULL && t->kind == TENSOR_WEIGHT ? t->weight : NULL;
}

leco_status kernel_plan_node(const kernel *k, const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    *plan = (kernel_plan){0};
    if (k->plan != NULL) LECO_TRY(k->plan(at, plan, err));
    for (int i = 0; i < NODE_MAX_INPUTS; i++) {
        weight *w = weight_of(at->node, i);
        if (w == NULL || plan->form[i] != NULL) continue;
        LECO_TRY(weight_want_plain(w, at->memory, at->compute, dtype_size(at->compute), &plan->form[i], err));
    }
    return LECO_OK;
}

leco_status kernel_prepare(const kernel *k, const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    bool empty[NODE_MAX_INPUTS] = {false};
    for (int i = 0; i < NODE_MAX_INPUTS; i++) {
        const weight *w = weight_of(at->node, i);
        if (w == NULL) continue;
        weight_form *f = plan->form[i];
        empty[i] = f != NULL && f->data == NULL;
        if (f != NULL && f->plain) LECO_TRY(weight_fill(w, f, err));
        plan->weight[i] = f != NULL ? f->data : w->data; /* another form's is perhaps still to come */
    }
    if (k->prepare != NULL) LECO_TRY(k->prepare(at, plan, err));
    for (int i = 0; i < NODE_MAX_INPUTS; i++) {
        if (plan->form[i] == NULL) continue;
        plan->weight[i] = plan->form[i]->data;
        const weight *w = weight_of(at->node, i);
        if (empty[i]) file_forget(w->data, (size_t)shape_count(&w->shape) * dtype_size(w->type)); /* it is packed now */
    }
    return LECO_OK;
}

void kernel_release(const kernel *k, kernel_plan *plan)
{
    if (k->release != NULL) k->release(plan);
    *plan = (kernel_plan){0};
}
