/* Names for what is compiled once for each instruction set: ISA(f) is f_avx2 in the AVX2 build, and so on. */
#ifndef LECO_BACKEND_CPU_ISA_ISA_H
#define LECO_BACKEND_CPU_ISA_ISA_H

#include <omp.h>

#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"
#include "base/mem.h"

#define ISA_JOIN2(name, level) name##_##level
#define ISA_JOIN(name, level) ISA_JOIN2(name, level)
#define ISA(name) ISA_JOIN(name, ISA_LEVEL)

/* The release of kernels whose state is one block. */
static inline void isa_free_state(kernel_plan *plan)
{
    mem_free(plan->state);
    plan->state = NULL;
}

/* An operator's row, cpu_name, of all its builds: in one of them. */
#if !defined(ISA_IS_baseline)
#define ISA_ROW(name)
#elif defined(__x86_64__)
#define ISA_ROW(name)                                                                                                  \
    extern const kernel cpu_##name##_avx2[2], cpu_##name##_avx512[2], cpu_##name##_avx512_bf16[2],                     \
        cpu_##name##_amx[2];                                                                                           \
    const cpu_kernel cpu_##name = {.isa = {cpu_##name##_baseline, cpu_##name##_avx2, cpu_##name##_avx512,              \
                                           cpu_##name##_avx512_bf16, cpu_##name##_amx}};
#else
#define ISA_ROW(name) const cpu_kernel cpu_##name = {.isa = {cpu_##name##_baseline}};
#endif

/* Defines the kernel of an operator, cpu_name, from two functions: name_threads(args), the size of the team, and the
 * always-inlined name_part(args, type, part, parts), which every thread of it runs. (OpenMP outlines the body of a
 * parallel region before the compiler propagates constants, so `type` must arrive as a literal inside the region.)
 * Behind the name: what else the kernels have, such as `.plan = name_plan`. */
#define ISA_KERNEL(name, ...)                                                                                          \
    static void name##_f32(const kernel_args *args)                                                                    \
    {                                                                                                                  \
        int threads = name##_threads(args);                                                                            \
        _Pragma("omp parallel num_threads(threads) if (threads > 1)")                                                  \
            name##_part(args, DTYPE_F32, omp_get_thread_num(), omp_get_num_threads());                                 \
    }                                                                                                                  \
    static void name##_bf16(const kernel_args *args)                                                                   \
    {                                                                                                                  \
        int threads = name##_threads(args);                                                                            \
        _Pragma("omp parallel num_threads(threads) if (threads > 1)")                                                  \
            name##_part(args, DTYPE_BF16, omp_get_thread_num(), omp_get_num_threads());                                \
    }                                                                                                                  \
    const kernel ISA(cpu_##name)[2] = {{.run = name##_f32, __VA_ARGS__}, {.run = name##_bf16, __VA_ARGS__}};           \
    ISA_ROW(name)

#endif
