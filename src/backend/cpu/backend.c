/* backend_cpu: which kernel serves an operator on this processor. */
#include "backend/backend.h"
#include "backend/cpu/kernels.h"

/* oneDNN's bf16 kernels start at AVX-512; without VDPBF16PS they, and ours, convert to f32 on the way. */
static bool supports(dtype compute)
{
    return compute == DTYPE_F32 || (compute == DTYPE_BF16 && cpu_detect() >= CPU_AVX512);
}

static const kernel *kernel_for(op_code op, dtype compute)
{
    static const cpu_kernel *const all[OP_COUNT] = {
#define OP(code, name, ...) [OP_##code] = &cpu_##name,
#include "graph/ops.def"
#undef OP
    };
    if (!supports(compute)) return NULL;
    const kernel *both = all[op]->isa[cpu_detect()];
    if (both != NULL) return &both[compute == DTYPE_BF16 ? 1 : 0];
    return all[op]->once.run != NULL ? &all[op]->once : NULL;
}

static dtype preferred_dtype(void)
{
    return cpu_has_bf16() ? DTYPE_BF16 : DTYPE_F32;
}

const backend backend_cpu = {.name = "cpu",
                             .memory = &host_memory,
                             .supports = supports,
                             .kernel_for = kernel_for,
                             .preferred_dtype = preferred_dtype,
                             .matrix_rate = cpu_matrix_rate};
