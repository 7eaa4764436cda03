/* The kernels of this backend by operator. */
#ifndef LECO_BACKEND_CPU_KERNELS_H
#define LECO_BACKEND_CPU_KERNELS_H

#include "backend/backend.h"
#include "base/cpu.h"

/* What an operator has, one of the two; nothing ({0}) says that graphs which need it are refused. */
typedef struct cpu_kernel {
    kernel once; /* one build for all processors and either dtype: over oneDNN, or where memory is the only limit */
    const kernel *isa[CPU_LEVELS]; /* by cpu_level, two each: F32, BF16. Made by ISA_KERNEL, in isa/ */
} cpu_kernel;

#define OP(code, name, ...) extern const cpu_kernel cpu_##name;
#include "graph/ops.def"
#undef OP

/* The convolutions by way of gather.c, whatever oneDNN has: for tests, which could not force that way. */
extern const kernel cpu_conv2d_gathered, cpu_conv2d_dx_gathered;

double cpu_matrix_rate(dtype compute); /* roof.c */

#endif
