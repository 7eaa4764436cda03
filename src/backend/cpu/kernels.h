/* The kernels that src/backend/cpu/backend.c gathers into backend_cpu. Index 0 of a pair is F32, 1 is BF16. */
#ifndef LECO_BACKEND_CPU_KERNELS_H
#define LECO_BACKEND_CPU_KERNELS_H

#include "backend/backend.h"

/* Built once an instruction set, from isa/. Rows without a run function are not theirs. */
extern const kernel isa_kernels_baseline[OP_COUNT][2];
#if defined(__x86_64__)
extern const kernel isa_kernels_avx2[OP_COUNT][2];
extern const kernel isa_kernels_avx512[OP_COUNT][2];
extern const kernel isa_kernels_avx512_bf16[OP_COUNT][2];
#endif

/* linear.c and conv.c, over oneDNN: either dtype. */
extern const kernel cpu_linear, cpu_linear_dx, cpu_conv2d, cpu_conv2d_dx;
/* The same convolutions by way of gather.c, whatever oneDNN has: for tests, which could not force that way. */
extern const kernel cpu_conv2d_gathered, cpu_conv2d_dx_gathered;

/* copy.c: operators that only move elements, and the two that make them from little; either dtype. */
extern const kernel cpu_concat, cpu_slice, cpu_upsample, cpu_select_rows, cpu_embedding, cpu_timestep_embedding;

#endif
