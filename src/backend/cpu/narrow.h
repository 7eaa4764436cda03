/* Matrices kept as int8 with a scale a row: half of bfloat16's memory, for some two thousandths of the largest element
 * of a row in error. A product expands them again, into scratch, each time it runs. */
#ifndef LECO_BACKEND_CPU_NARROW_H
#define LECO_BACKEND_CPU_NARROW_H

#include "backend/weight_form.h"

/* Wants the form of a matrix, and fills it if that isn't done. */
leco_status narrow_want(weight *w, const device_memory *m, weight_form **out, leco_error *err);
leco_status narrow_fill(const weight *w, weight_form *f, leco_error *err);

/* dst, as many elements of `type`, F32 or BF16, by all threads. data is the form's. */
void narrow_expand(void *dst, dtype type, const weight *w, const void *data);

#endif
