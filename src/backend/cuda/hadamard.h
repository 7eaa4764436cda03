/* LoHa's weight and the gradients of its factors, all f32: what hadamard.c says to hadamard.cu. */
#ifndef LECO_CUDA_HADAMARD_H
#define LECO_CUDA_HADAMARD_H

#include "backend/cuda/launch.h"

/* a [rows,first], b [first,columns], c [rows,second], d [second,columns]. */
typedef struct hadamard_shape {
    int64_t rows, columns, first, second;
    float scale;
} hadamard_shape;
LAUNCHER void launch_hadamard(const hadamard_shape *s, const float *a, const float *b, const float *c, const float *d,
                              float *w);
LAUNCHER void launch_hadamard_da(const hadamard_shape *s, const float *dw, const float *b, const float *c,
                                 const float *d, const float *add, float *da);
LAUNCHER void launch_hadamard_db(const hadamard_shape *s, const float *dw, const float *a, const float *c,
                                 const float *d, const float *add, float *db);

#endif
