#include "backend/backend.h"

#define OP(code, name, ...) extern const kernel ref_##name##_float, ref_##name##_double;
#include "graph/ops.def"
#undef OP

static bool ref_supports(dtype compute)
{
    return compute == DTYPE_F32 || compute == DTYPE_F64;
}

static const kernel *ref_kernel_for(op_code op, dtype compute)
{
    static const kernel *const all[OP_COUNT][2] = {
#define OP(code, name, ...) [OP_##code] = {&ref_##name##_float, &ref_##name##_double},
#include "graph/ops.def"
#undef OP
    };
    return ref_supports(compute) ? all[op][compute == DTYPE_F64 ? 1 : 0] : NULL;
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
