/* The kernels of this backend by operator, and what their files share. */
#ifndef LECO_CUDA_KERNELS_H
#define LECO_CUDA_KERNELS_H

#include "backend/cuda/runtime.h"

#define OP(code, name, ...) extern const kernel cuda_##name;
#include "graph/ops.def"
#undef OP

static inline gpu_type type_of(const tensor *t)
{
    return gpu_type_of(t->type);
}

/* The next place in scratch behind `used` bytes. */
static inline size_t scratch_after(size_t used)
{
    return (used + 255) / 256 * 256;
}

#endif
