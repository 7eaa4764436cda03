/* Convolutions and their data gradient, NHWC, through cuDNN. Weights are [out,kh,kw,in] (launch_channels_last). */
#ifndef LECO_CUDA_CONVOLUTION_H
#define LECO_CUDA_CONVOLUTION_H

#include "backend/cuda/launch.h"
#include "base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gpu_convolution {
    conv_shape shape;
    gpu_type type;
    bool gradient; /* dx from dy */
    size_t scratch_bytes;
    void *impl;
} gpu_convolution;

/* Chooses an algorithm that gives the same bits every time; the caller has set the first three members.
 * LECO_UNSUPPORTED where cuDNN is missing or has none, as for padding that differs from side to side. Release also what
 * failed. */
leco_status gpu_convolution_plan(gpu_convolution *c, leco_error *err);
/* y = conv(x, w) + bias [out] + add; either may be NULL, and add may be y. With gradient x is dy, y is dx, and there is
 * no bias. */
void gpu_convolution_run(const gpu_convolution *c, const void *x, const void *w, const void *bias, const void *add,
                         void *y, void *scratch);
void gpu_convolution_release(gpu_convolution *c); /* safe on a zeroed one */

#ifdef __cplusplus
}
#endif

#endif
