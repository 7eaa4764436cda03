/* The reference backend's two sets of kernels. */
#ifndef LECO_BACKEND_REF_H
#define LECO_BACKEND_REF_H

#include "backend/backend.h"

extern const kernel ref_kernels_f32[OP_COUNT];
extern const kernel ref_kernels_f64[OP_COUNT];

#endif
