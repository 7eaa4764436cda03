/* backend_cpu: which kernel serves an operator on this processor. */
#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "base/cpu.h"

/* oneDNN's bf16 kernels start at AVX-512; without VDPBF16PS they, and ours, convert to f32 on the way. */
static bool supports(dtype compute)
{
    return compute == DTYPE_F32 || (compute == DTYPE_BF16 && cpu_detect() >= CPU_AVX512);
}

static const kernel (*isa_kernels(void))[2]
{
#if defined(__x86_64__)
    switch (cpu_detect()) {
    case CPU_AVX512_BF16:
        return isa_kernels_avx512_bf16;
    case CPU_AVX512:
        return isa_kernels_avx512;
    case CPU_AVX2:
        return isa_kernels_avx2;
    case CPU_BASELINE:
        break;
    }
#endif
    return isa_kernels_baseline;
}

static const kernel *kernel_for(op_code op, dtype compute)
{
    if (!supports(compute)) return NULL;
    switch (op) {
    case OP_LINEAR:
        return &cpu_linear;
    case OP_LINEAR_DX:
        return &cpu_linear_dx;
    case OP_CONV2D:
        return &cpu_conv2d;
    case OP_CONV2D_DX:
        return &cpu_conv2d_dx;
    case OP_CONCAT:
        return &cpu_concat;
    case OP_SLICE:
        return &cpu_slice;
    case OP_UPSAMPLE:
        return &cpu_upsample;
    case OP_SELECT_ROWS:
        return &cpu_select_rows;
    case OP_EMBEDDING:
        return &cpu_embedding;
    case OP_TIMESTEP_EMBEDDING:
        return &cpu_timestep_embedding;
    default:
        break;
    }
    const kernel *k = &isa_kernels()[op][compute == DTYPE_BF16 ? 1 : 0];
    return k->run ? k : NULL;
}

static dtype preferred_dtype(void)
{
    return cpu_has_bf16() ? DTYPE_BF16 : DTYPE_F32;
}

const backend backend_cpu = {
    .name = "cpu", .supports = supports, .kernel_for = kernel_for, .preferred_dtype = preferred_dtype};
