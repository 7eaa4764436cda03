/* The kernels of this backend by operator, and what their files share. */
#ifndef LECO_CUDA_KERNELS_H
#define LECO_CUDA_KERNELS_H

#include "backend/cuda/runtime.h"

extern const kernel cuda_linear, cuda_linear_dx, cuda_linear_dw;     /* linear.c */
extern const kernel cuda_conv2d, cuda_conv2d_dx;                     /* conv.c */
extern const kernel cuda_conv2d_gathered, cuda_conv2d_dx_gathered;   /* never through cuDNN: for tests */
extern const kernel cuda_attention, cuda_attention_grad;             /* attention.c */
extern const kernel cuda_attention_plain, cuda_attention_grad_plain; /* never on matrix units: for tests */
extern const kernel cuda_group_norm, cuda_group_norm_dx;             /* simple.c, and all below */
extern const kernel cuda_layer_norm, cuda_layer_norm_dx;
extern const kernel cuda_geglu, cuda_geglu_dx, cuda_activation, cuda_activation_dx, cuda_add, cuda_add_spatial;
extern const kernel cuda_sum_spatial, cuda_concat, cuda_slice, cuda_upsample, cuda_upsample_dx;
extern const kernel cuda_timestep_embedding, cuda_embedding, cuda_add_rows, cuda_add_rows_dw, cuda_select_rows;
extern const kernel cuda_mse, cuda_mse_dx, cuda_hadamard, cuda_hadamard_da, cuda_hadamard_db;

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
