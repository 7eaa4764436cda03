/* The kernels of this instruction set. Empty rows are served by src/backend/cpu itself. */
#include "backend/cpu/isa/isa.h"
#include "backend/cpu/kernels.h"
#include "base/mem.h"

static void free_state(kernel_plan *plan)
{
    mem_free(plan->state);
    plan->state = NULL;
}

/* Row of an operator: how it is prepared, then its run functions. */
#define BOTH(name, ...)                                                                                                \
    {                                                                                                                  \
        {.run = ISA(name##_f32), __VA_ARGS__},                                                                         \
        {                                                                                                              \
            .run = ISA(name##_bf16), __VA_ARGS__                                                                       \
        }                                                                                                              \
    }

const kernel ISA(isa_kernels)[OP_COUNT][2] = {
    [OP_LINEAR_DW] = BOTH(linear_dw, .prepare = ISA(linear_dw_prepare), .release = free_state),
    [OP_GROUP_NORM] = BOTH(group_norm, .prepare = ISA(group_norm_prepare)),
    [OP_GROUP_NORM_DX] = BOTH(group_norm_dx, .prepare = ISA(group_norm_dx_prepare)),
    [OP_LAYER_NORM] = BOTH(layer_norm, .prepare = NULL),
    [OP_LAYER_NORM_DX] = BOTH(layer_norm_dx, .prepare = NULL),
    [OP_ATTENTION] = BOTH(attention, .prepare = ISA(attention_prepare)),
    [OP_ATTENTION_GRAD] = BOTH(attention_grad, .prepare = ISA(attention_grad_prepare), .release = free_state),
    [OP_GEGLU] = BOTH(geglu, .prepare = NULL),
    [OP_GEGLU_DX] = BOTH(geglu_dx, .prepare = NULL),
    [OP_ACTIVATION] = BOTH(activation, .prepare = NULL),
    [OP_ACTIVATION_DX] = BOTH(activation_dx, .prepare = NULL),
    [OP_ADD] = BOTH(add, .prepare = NULL),
    [OP_ADD_SPATIAL] = BOTH(add_spatial, .prepare = NULL),
    [OP_SUM_SPATIAL] = BOTH(sum_spatial, .prepare = NULL),
    [OP_UPSAMPLE_DX] = BOTH(upsample_dx, .prepare = NULL),
    [OP_MSE] = BOTH(mse, .prepare = ISA(mse_prepare)),
    [OP_MSE_DX] = BOTH(mse_dx, .prepare = NULL),
};
