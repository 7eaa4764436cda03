/* Every kernel of this backend, a row each, and what is made of the rows. */
#ifndef LECO_BACKEND_CPU_KERNELS_H
#define LECO_BACKEND_CPU_KERNELS_H

#include "backend/backend.h"

/* ONCE(CODE, name): one build serves all processors and either dtype: `const kernel cpu_name` of linear.c and conv.c,
 * over oneDNN, and of copy.c.
 * ISA(CODE, name): built once for each instruction set, from isa/: ISA_KERNEL(name, ...) there. */
#define CPU_KERNELS(ONCE, ISA)                                                                                         \
    ONCE(LINEAR, linear)                                                                                               \
    ONCE(LINEAR_DX, linear_dx)                                                                                         \
    ISA(LINEAR_DW, linear_dw)                                                                                          \
    ISA(HADAMARD, hadamard)                                                                                            \
    ISA(HADAMARD_DA, hadamard_da)                                                                                      \
    ISA(HADAMARD_DB, hadamard_db)                                                                                      \
    ONCE(CONV2D, conv2d)                                                                                               \
    ONCE(CONV2D_DX, conv2d_dx)                                                                                         \
    ISA(GROUP_NORM, group_norm)                                                                                        \
    ISA(GROUP_NORM_DX, group_norm_dx)                                                                                  \
    ISA(LAYER_NORM, layer_norm)                                                                                        \
    ISA(LAYER_NORM_DX, layer_norm_dx)                                                                                  \
    ISA(ATTENTION, attention)                                                                                          \
    ISA(ATTENTION_GRAD, attention_grad)                                                                                \
    ISA(GEGLU, geglu)                                                                                                  \
    ISA(GEGLU_DX, geglu_dx)                                                                                            \
    ISA(ACTIVATION, activation)                                                                                        \
    ISA(ACTIVATION_DX, activation_dx)                                                                                  \
    ISA(ADD, add)                                                                                                      \
    ISA(ADD_SPATIAL, add_spatial)                                                                                      \
    ISA(SUM_SPATIAL, sum_spatial)                                                                                      \
    ONCE(CONCAT, concat)                                                                                               \
    ONCE(SLICE, slice)                                                                                                 \
    ONCE(UPSAMPLE, upsample)                                                                                           \
    ISA(UPSAMPLE_DX, upsample_dx)                                                                                      \
    ONCE(TIMESTEP_EMBEDDING, timestep_embedding)                                                                       \
    ONCE(EMBEDDING, embedding)                                                                                         \
    ONCE(ADD_ROWS, add_rows)                                                                                           \
    ONCE(ADD_ROWS_DW, add_rows_dw)                                                                                     \
    ONCE(SELECT_ROWS, select_rows)                                                                                     \
    ISA(MSE, mse)                                                                                                      \
    ISA(MSE_DX, mse_dx)

#define CPU_NOTHING(code, name)
#define CPU_DECLARE(code, name) extern const kernel cpu_##name;
CPU_KERNELS(CPU_DECLARE, CPU_NOTHING)
#undef CPU_DECLARE

/* The convolutions by way of gather.c, whatever oneDNN has: for tests, which could not force that way. */
extern const kernel cpu_conv2d_gathered, cpu_conv2d_dx_gathered;

/* What isa/table.c makes of the ISA rows in each build: two kernels, for F32 and BF16; NULL elsewhere. */
extern const kernel *const isa_kernels_baseline[OP_COUNT];
#if defined(__x86_64__)
extern const kernel *const isa_kernels_avx2[OP_COUNT];
extern const kernel *const isa_kernels_avx512[OP_COUNT];
extern const kernel *const isa_kernels_avx512_bf16[OP_COUNT];
#endif

double cpu_matrix_rate(dtype compute); /* roof.c */

#endif
