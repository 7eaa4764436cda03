/* Element-wise loops over vectors, and where an operator's sizes come from. */
#ifndef LECO_BACKEND_CPU_ISA_LOOP_H
#define LECO_BACKEND_CPU_ISA_LOOP_H

#include "backend/cpu/isa/isa.h"
#include "backend/cpu/isa/vec.h"

typedef void loop_body(const void *context, size_t index, size_t count);

/* body(context, index, count) for consecutive indices of [from, to): count is VEC (a constant, once inlined) but at the
 * end. */
INLINE void loop_each(size_t from, size_t to, loop_body body, const void *context)
{
    size_t i = from;
    for (; i + VEC <= to; i += VEC) body(context, i, VEC);
    if (i < to) body(context, i, to - i);
}

INLINE size_t size_count(const tensor *t)
{
    return (size_t)shape_count(&t->shape);
}

INLINE size_t size_last(const tensor *t)
{
    return (size_t)shape_last(&t->shape);
}

INLINE size_t size_rows(const tensor *t)
{
    return (size_t)shape_rows(&t->shape);
}

INLINE size_t size_dim(const tensor *t, int i)
{
    return (size_t)t->shape.dim[i];
}

#endif
