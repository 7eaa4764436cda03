#include "backend/ref/ref.h"

static bool ref_supports(dtype compute)
{
    return compute == DTYPE_F32 || compute == DTYPE_F64;
}

static const kernel *ref_kernel_for(op_code op, dtype compute)
{
    switch (compute) {
    case DTYPE_F32:
        return &ref_kernels_f32[op];
    case DTYPE_F64:
        return &ref_kernels_f64[op];
    default:
        return NULL;
    }
}

static dtype ref_preferred_dtype(void)
{
    return DTYPE_F32;
}

const backend backend_ref = {
    .name = "ref",
    .supports = ref_supports,
    .kernel_for = ref_kernel_for,
    .preferred_dtype = ref_preferred_dtype,
};
