/* linear_dw: dW [N,K] f32 = scale * dy [M,N]^T x [M,K] + add. */
#include "backend/cpu/isa/weight_gradient.h"

static problem problem_of(const node *n)
{
    return problem_for(size_rows(n->input[0]), size_last(n->input[0]), size_last(n->input[1]));
}

static leco_status linear_dw_plan(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    const problem p = problem_of(at->node);
    return plan_division(&p, plan, err);
}

static int linear_dw_threads(const kernel_args *args)
{
    const problem p = problem_of(args->node);
    return division_threads(&p, args->plan->state);
}

INLINE void linear_dw_part(const kernel_args *args, dtype type, int part, int parts)
{
    (void)parts;
    const problem p = problem_of(args->node);
    gradient_part(args, &p, type, part, args->node->attr.scale);
}

ISA_KERNEL(linear_dw, .plan = linear_dw_plan, .release = isa_free_state)
