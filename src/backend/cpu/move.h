/* Copies and small sums around oneDNN's primitives. */
#ifndef LECO_BACKEND_CPU_MOVE_H
#define LECO_BACKEND_CPU_MOVE_H

#include <stddef.h>

#include "base/dtype.h"

/* memcpy by all threads. Nothing where dst is src. */
void move_bytes(void *dst, const void *src, size_t bytes);
/* dst [count] of `type` = scale * src [count] f32. */
void move_scaled(void *dst, dtype type, const void *src, size_t count, float scale);
/* y [rows,columns] = add [rows,columns] + bias [columns], either of them NULL for zeros. y may be add. */
void move_start(void *y, const void *add, const void *bias, dtype type, size_t rows, size_t columns);
/* y = a + b, count elements. y may be either. */
void move_sum(void *y, const void *a, const void *b, dtype type, size_t count);

#endif
