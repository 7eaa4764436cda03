/* backend_cpu: which kernel serves an operator on this processor. */
#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "base/cpu.h"

/* oneDNN's bf16 kernels start at AVX-512; without VDPBF16PS they, and ours, convert to f32 on the way. */
static bool supports(dtype compute)
{
    return compute == DTYPE_F32 || (compute == DTYPE_BF16 && cpu_detect() >= CPU_AVX512);
}

static const kernel *const *isa_kernels(void)
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
#define ONCE(code, name) [OP_##code] = &cpu_##name,
    static const kernel *const once[OP_COUNT] = {CPU_KERNELS(ONCE, CPU_NOTHING)};
#undef ONCE
    if (!supports(compute)) return NULL;
    if (once[op] != NULL) return once[op];
    const kernel *both = isa_kernels()[op];
    return both != NULL ? &both[compute == DTYPE_BF16 ? 1 : 0] : NULL;
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
