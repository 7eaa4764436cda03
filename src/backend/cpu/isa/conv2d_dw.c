/* conv2d_dw: dW [O,I,kh,kw] f32 = dy^T times the windows of x + add. */
#include "backend/cpu/isa/weight_gradient.h"

static problem problem_of(const node *n)
{
    const tensor *dy = n->input[0], *x = n->input[1];
    const shape *w = &n->attr.target;
    const windows of = {.h = size_dim(x, 1),
                        .w = size_dim(x, 2),
                        .in = size_dim(x, 3),
                        .ho = size_dim(dy, 1),
                        .wo = size_dim(dy, 2),
                        .kh = (size_t)w->dim[2],
                        .kw = (size_t)w->dim[3],
                        .stride = (size_t)n->attr.stride,
                        .top = (size_t)n->attr.pad[0],
                        .left = (size_t)n->attr.pad[1]};
    problem p = problem_for(size_rows(dy), size_last(dy), of.kh * of.kw * of.in);
    p.gathers = true;
    p.of = of;
    return p;
}

static leco_status conv2d_dw_plan(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    const problem p = problem_of(at->node);
    return plan_division(&p, plan, err);
}

static int conv2d_dw_threads(const kernel_args *args)
{
    const problem p = problem_of(args->node);
    return division_threads(&p, args->plan->state);
}

INLINE void conv2d_dw_part(const kernel_args *args, dtype type, int part, int parts)
{
    (void)parts;
    const problem p = problem_of(args->node);
    gradient_part(args, &p, type, part, 1.0f);
}

ISA_KERNEL(conv2d_dw, .plan = conv2d_dw_plan, .release = isa_free_state)
