/* Names for what is compiled once for each instruction set: ISA(f) is f_avx2 in the AVX2 build, and so on. */
#ifndef LECO_BACKEND_CPU_ISA_ISA_H
#define LECO_BACKEND_CPU_ISA_ISA_H

#include <omp.h>

#include "backend/backend.h"
#include "backend/cpu/parallel.h"

#define ISA_JOIN2(name, level) name##_##level
#define ISA_JOIN(name, level) ISA_JOIN2(name, level)
#define ISA(name) ISA_JOIN(name, ISA_LEVEL)

/* Declares the f32 and bf16 run functions of an operator. */
#define ISA_RUN(name)                                                                                                  \
    void ISA(name##_f32)(const kernel_args *args);                                                                     \
    void ISA(name##_bf16)(const kernel_args *args)

/* Defines them from two functions: name_threads(args), the size of the team, and the always-inlined
 * name_part(args, type, part, parts), which every thread of it runs. (OpenMP outlines the body of a parallel region
 * before the compiler propagates constants, so `type` must arrive as a literal inside the region.) */
#define ISA_DEFINE(name)                                                                                               \
    void ISA(name##_f32)(const kernel_args *args)                                                                      \
    {                                                                                                                  \
        int threads = name##_threads(args);                                                                            \
        _Pragma("omp parallel num_threads(threads) if (threads > 1)")                                                  \
            name##_part(args, DTYPE_F32, omp_get_thread_num(), omp_get_num_threads());                                 \
    }                                                                                                                  \
    void ISA(name##_bf16)(const kernel_args *args)                                                                     \
    {                                                                                                                  \
        int threads = name##_threads(args);                                                                            \
        _Pragma("omp parallel num_threads(threads) if (threads > 1)")                                                  \
            name##_part(args, DTYPE_BF16, omp_get_thread_num(), omp_get_num_threads());                                \
    }

ISA_RUN(group_norm);
ISA_RUN(group_norm_dx);
ISA_RUN(layer_norm);
ISA_RUN(layer_norm_dx);
ISA_RUN(geglu);
ISA_RUN(geglu_dx);
ISA_RUN(activation);
ISA_RUN(activation_dx);
ISA_RUN(add);
ISA_RUN(add_spatial);
ISA_RUN(sum_spatial);
ISA_RUN(upsample_dx);
ISA_RUN(mse);
ISA_RUN(mse_dx);
ISA_RUN(attention);
ISA_RUN(attention_grad);
ISA_RUN(linear_dw);

leco_status ISA(group_norm_prepare)(const node *n, dtype compute, kernel_plan *plan, leco_error *err);
leco_status ISA(group_norm_dx_prepare)(const node *n, dtype compute, kernel_plan *plan, leco_error *err);
leco_status ISA(mse_prepare)(const node *n, dtype compute, kernel_plan *plan, leco_error *err);
leco_status ISA(attention_prepare)(const node *n, dtype compute, kernel_plan *plan, leco_error *err);
leco_status ISA(attention_grad_prepare)(const node *n, dtype compute, kernel_plan *plan, leco_error *err);
leco_status ISA(linear_dw_prepare)(const node *n, dtype compute, kernel_plan *plan, leco_error *err);

#endif
