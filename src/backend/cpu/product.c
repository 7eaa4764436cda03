#include "backend/cpu/product.h"

#include <string.h>

#include "backend/cpu/move.h"
#include "backend/cpu/narrow.h"
#include "base/mem.h"

static size_t align_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

leco_status product_plan(product *p, const product_spec *s, kernel_plan *plan, leco_error *err)
{
    const node *n = s->at->node;
    const dtype compute = s->at->compute;
    const tensor *w = n->input[1];
    int64_t out = w->shape.dim[0], in = w->shape.dim[1];
    memset(p, 0, sizeof *p);
    p->bias = s->bias >= 0 && n->input[s->bias] ? s->bias : -1;
    p->add = s->add >= 0 && n->input[s->add] ? s->add : -1;
    p->compute = compute;
    p->rows = s->rows;
    p->columns = s->data_gradient ? in : out;
    float alpha = s->scale;
    if (w->kind != TENSOR_WEIGHT && (compute != DTYPE_F32 || s->scale != 1.0f)) {
        /* A param is small: its copy in the compute dtype takes the scale along. */
        p->copy_count = (size_t)(out * in);
        p->copy_scale = s->scale;
        alpha = 1.0f;
    }
    if (w->kind == TENSOR_WEIGHT && w->weight->narrow) {
        p->narrow = w->weight;
        p->copy_count = (size_t)(out * in);
        LECO_TRY(narrow_want(w->weight, s->at->memory, &plan->form[1], err));
    }
    if (p->bias >= 0) /* oneDNN reads it with aligned loads */
        LECO_TRY(weight_want_plain(n->input[p->bias]->weight, s->at->memory, compute, MEM_ALIGNMENT,
                                   &plan->form[p->bias], err));
    p->zero = alpha == 0.0f;
    p->own_bias = p->bias >= 0 && alpha == 1.0f; /* oneDNN would scale it, too: otherwise y starts from it */
    p->sum = p->add >= 0 || (p->bias >= 0 && !p->own_bias);
    const matmul_spec m = {.rows = s->rows,
                           .depth = s->data_gradient ? out : in,
                           .columns = p->columns,
                           .type = compute,
                           .transposed = !s->data_gradient,
                           .bias = p->own_bias,
                           .sum = p->sum,
                           .alpha = p->zero ? 1.0f : alpha};
    LECO_TRY(primitive_plan_matmul(&p->primitive, &m, err));
    plan->scratch_bytes = align_up(p->copy_count * dtype_size(compute)) + p->primitive.scratch_bytes;
    return LECO_OK;
}

leco_status product_prepare(product *p, const kernel_plan *plan, leco_error *err)
{
    LECO_TRY(primitive_make(&p->primitive, err));
    if (p->narrow)
        LECO_TRY(narrow_fill(p->narrow, plan->form[1], err));
    else
        primitive_set(&p->primitive, PRIMITIVE_WEIGHTS, plan->weight[1]);
    if (p->own_bias) primitive_set(&p->primitive, PRIMITIVE_BIAS, plan->weight[p->bias]);
    return LECO_OK;
}

void product_run(const product *p, const kernel_args *args)
{
    const primitive *m = &p->primitive;
    char *scratch = args->scratch;
    const void *w = args->input[1];
    if (p->copy_count) {
        if (p->narrow)
            narrow_expand(scratch, p->compute, p->narrow, w);
        else
            move_scaled(scratch, p->compute, w, p->copy_count, p->copy_scale);
        w = scratch;
        scratch += align_up(p->copy_count * dtype_size(p->compute));
    }
    if (p->zero && !p->sum) memset(args->output[0], 0, (size_t)(p->rows * p->columns) * dtype_size(p->compute));
    if (p->sum) {
        const void *bias = m->memory[PRIMITIVE_BIAS] || p->bias < 0 ? NULL : args->input[p->bias];
        move_start(args->output[0], p->add >= 0 ? args->input[p->add] : NULL, bias, p->compute, (size_t)p->rows,
                   (size_t)p->columns);
    }
    if (p->zero) return;
    primitive_set(m, PRIMITIVE_SRC, args->input[0]);
    primitive_set(m, PRIMITIVE_WEIGHTS, w);
    primitive_set(m, PRIMITIVE_DST, args->output[0]);
    primitive_set(m, PRIMITIVE_SCRATCH, scratch);
    primitive_run(m);
}

void product_release(product *p)
{
    primitive_release(&p->primitive);
}
