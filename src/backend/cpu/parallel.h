/* Sharing loops among threads. */
#ifndef LECO_BACKEND_CPU_PARALLEL_H
#define LECO_BACKEND_CPU_PARALLEL_H

#include <stddef.h>

#include "base/cpu.h"

/* How many threads a loop over `elements` deserves: one, since waking others costs a few microseconds, or all of them.
 * Never a number between: libgomp ends the threads that a smaller team leaves out, and starts them again for the next.
 */
static inline int parallel_threads(size_t elements)
{
    return elements < 8192 ? 1 : cpu_threads();
}

/* The share [from, to) of `part` among `parts` in `count`, in multiples of `grain` but for the end. */
static inline void parallel_range(size_t count, size_t grain, int part, int parts, size_t *from, size_t *to)
{
    size_t grains = (count + grain - 1) / grain;
    size_t first = grains * (size_t)part / (size_t)parts, last = grains * ((size_t)part + 1) / (size_t)parts;
    *from = first * grain < count ? first * grain : count;
    *to = last * grain < count ? last * grain : count;
}

#endif
