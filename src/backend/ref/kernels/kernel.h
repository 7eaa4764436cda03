/* What the reference kernels are written with. Each file of this folder is compiled for `float` and for `double`, which
 * the build says in REAL.
 *
 * They are plain loops that accumulate in double and round once at the end, and are never made faster: what they
 * compute is the definition of correct. Weights come as they are planned for all kernels that say nothing of them:
 * row-major compute dtype. */
#ifndef LECO_REF_KERNEL_H
#define LECO_REF_KERNEL_H

#include "backend/backend.h"

typedef REAL real;

/* The name of an operator's kernel, of which there is one for each row of ops.def:
 *     const kernel REF(hadamard) = {.run = run_hadamard}; */
#define REF(name) REF_JOIN(name, REAL)
#define REF_JOIN(name, real) REF_JOIN2(name, real)
#define REF_JOIN2(name, real) ref_##name##_##real

#endif
