/* The pseudo-Huber loss and its gradient. */
#include "backend/cuda/huber.h"

#include "backend/cuda/kernels.h"

static leco_status plan_huber(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    (void)at;
    (void)err;
    plan->scratch_bytes = HUBER_PARTS * sizeof(float);
    return LECO_OK;
}

static void run_huber(const kernel_args *a)
{
    const tensor *x = a->node->input[0], *target = a->node->input[1];
    launch_huber(type_of(x), type_of(target), a->input[0], a->input[1], a->input[2], a->output[0], a->scratch,
                 shape_count(&x->shape));
}

static void run_huber_dx(const kernel_args *a)
{
    const tensor *x = a->node->input[0], *target = a->node->input[1];
    launch_huber_dx(type_of(x), type_of(target), a->input[0], a->input[1], a->input[2], a->input[3], a->output[0],
                    shape_count(&x->shape));
}

const kernel cuda_huber = {.plan = plan_huber, .run = run_huber}, cuda_huber_dx = {.run = run_huber_dx};
