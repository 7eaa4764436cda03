/* The stream that everything is done on, and what went wrong on it: below all kernels. */
#ifndef LECO_CUDA_STREAM_H
#define LECO_CUDA_STREAM_H

#include <cuda_runtime_api.h>

#include "backend/cuda/launch.h"

enum { STREAM_FAILURE = 256 };

cudaError_t stream_open(void);
/* Whether anything failed since the last call, and then what was first. */
bool stream_failure(char text[STREAM_FAILURE]);

#endif
