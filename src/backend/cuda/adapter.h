/* What adapters compute beside linear and conv2d: what adapter.c says to adapter.cu. */
#ifndef LECO_CUDA_ADAPTER_H
#define LECO_CUDA_ADAPTER_H

#include "backend/cuda/launch.h"

/* y [rows,columns] f32 = scale * a b + add (may be NULL); a [rows,depth], or turned [depth,rows]; b likewise. */
typedef struct adapter_product {
    int64_t rows, columns, depth;
    bool a_turned, b_turned;
    float scale;
} adapter_product;
LAUNCHER void launch_product(const adapter_product *s, const float *a, const float *b, const float *add, float *y);
/* y[a,b,c,d] = x[a,c,b,d]; dim is that of x. */
LAUNCHER void launch_swap(const int64_t dim[4], const float *x, float *y);
/* q = 1 / norm of the rows (or columns) of w [rows,in,taps] + scale * up [rows,rank] down [rank,in,taps]. */
typedef struct row_norms_shape {
    int64_t rows, in, taps, rank;
    float scale;
    bool by_column;
} row_norms_shape;
LAUNCHER void launch_row_norms(gpu_type type, const row_norms_shape *s, const void *w, const float *up,
                               const float *down, float *q);
/* y [rows,channels] = (offset + scale * v) x + bias + add; v, bias and add may be NULL. */
typedef struct affine_shape {
    int64_t rows, channels;
    float offset, scale;
} affine_shape;
LAUNCHER void launch_affine(gpu_type type, const affine_shape *s, const void *x, const float *v, const void *bias,
                            const void *add, void *y);
LAUNCHER void launch_affine_dv(gpu_type type, const affine_shape *s, const void *dy, const void *x, const float *add,
                               float *dv);
LAUNCHER void launch_multiply(gpu_type type, const void *a, const void *b, void *y, int64_t count);

#endif
