/* The pseudo-Huber loss and its gradient: what huber.c says to huber.cu. */
#ifndef LECO_CUDA_HUBER_H
#define LECO_CUDA_HUBER_H

#include "backend/cuda/launch.h"

#define HUBER_PARTS 256 /* floats of scratch */
LAUNCHER void launch_huber(gpu_type type, gpu_type target_type, const void *x, const void *target, const float *c,
                           float *loss, float *parts, int64_t count);
/* dloss may be NULL: 1. */
LAUNCHER void launch_huber_dx(gpu_type type, gpu_type target_type, const void *x, const void *target, const float *c,
                              const float *dloss, void *dx, int64_t count);

#endif
