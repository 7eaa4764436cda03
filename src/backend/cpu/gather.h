/* Convolution, or its data gradient, by gathering each output pixel's window into a row and multiplying blocks of rows
 * with the weights. Any kernel, stride and padding. */
#ifndef LECO_BACKEND_CPU_GATHER_H
#define LECO_BACKEND_CPU_GATHER_H

#include "backend/cpu/primitive.h"

typedef struct gather {
    conv_spec spec;
    int64_t rows, block, width; /* pixels made; of one block; elements of a window */
    int64_t from_channels, to_channels;
    primitive whole, rest; /* products of a block and of the last, shorter one */
    size_t scratch_bytes;
} gather;

/* Takes bias, sum and gradient from the spec. */
leco_status gather_plan(gather *g, const conv_spec *spec, leco_error *err);
/* Makes the products; without bias and weights until they are set. */
leco_status gather_prepare(gather *g, leco_error *err);
/* The form that a frozen weight is arranged in, and arranging it. */
leco_status gather_want(const gather *g, weight *w, const device_memory *m, weight_form **out, leco_error *err);
leco_status gather_fill(const gather *g, const weight *w, weight_form *f, leco_error *err);
/* Where element [out,in,tap] of a weight is among the arranged ones. */
int64_t gather_place(const gather *g, int64_t out, int64_t in, int64_t tap);
void gather_set_weights(const gather *g, const void *weights);
void gather_set_bias(gather *g, const void *bias);
void gather_run(const gather *g, const void *src, void *dst, void *scratch);
void gather_release(gather *g); /* safe on a zeroed one */

#endif
