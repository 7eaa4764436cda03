/* The reference backend's two sets of kernels. */
#ifndef LECO_BACKEND_REF_H
#define LECO_BACKEND_REF_H

#include "backend/backend.h"

extern const kernel ref_kernels_f32[OP_COUNT];
extern const kernel ref_kernels_f64[OP_COUNT];

/* Fetches weights as row-major compute dtype and sizes the scratch. */
leco_status ref_prepare(const node *n, dtype compute, kernel_plan *plan, leco_error *err);

#endif
