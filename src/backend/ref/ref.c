#include "backend/ref/ref.h"

static bool ref_supports(dtype compute)
{
    return compute == DTYPE_F32 || compute == DTYPE_F64;
}

static const kernel *ref_kernel_for(op_code op, dtype compute)
{
    if (!ref_supports(compute)) return NULL;
    const kernel *k = compute == DTYPE_F32 ? &ref_kernels_f32[op] : &ref_kernels_f64[op];
    return k->run != NULL ? k : NULL;
}

static dtype ref_preferred_dtype(void)
{
    return DTYPE_F32;
}

const backend backend_ref = {
    .name = "ref",
    .memory = &host_memory,
    .supports = ref_supports,
    .kernel_for = ref_kernel_for,
    .preferred_dtype = ref_preferred_dtype,
};
