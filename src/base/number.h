/* Numbers that may be none. */
#ifndef LECO_BASE_NUMBER_H
#define LECO_BASE_NUMBER_H

#include <math.h>
#include <stddef.h>

/* For printf's sake: a NaN without its sign, which says nothing and would be shown ("-nan"); all others as they are. */
static inline double number_shown(double value)
{
    return isnan(value) ? (double)NAN : value;
}

/* The index of the first value that is infinite or not a number; count: all are finite. */
static inline size_t number_first_bad(const float *values, size_t count)
{
    size_t i = 0;
    while (i < count && isfinite(values[i])) i++;
    return i;
}

#endif
