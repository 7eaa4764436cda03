/* Numbers that may be none. */
#ifndef LECO_BASE_NUMBER_H
#define LECO_BASE_NUMBER_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* For printf's sake: a NaN without its sign, which says nothing and would be shown ("-nan"); all others as they are. */
static inline double number_shown(double value)
{
    return isnan(value) ? (double)NAN : value;
}

/* Is it 0 in float32, or so small that it loses its digits there? */
static inline bool number_is_lost(double value)
{
    return fabsf((float)value) < FLT_MIN;
}

/* The index of the first value that is infinite or not a number; count: all are finite. */
static inline size_t number_first_bad(const float *values, size_t count)
{
    size_t i = 0;
    while (i < count && isfinite(values[i])) i++;
    return i;
}

/* A number as text, in as few digits as give it back exactly; room of 32 suffices. */
static inline void number_exact(double value, char *out, size_t size)
{
    int digits = 6;
    do snprintf(out, size, "%.*g", digits, value);
    while (strtod(out, NULL) != value && ++digits <= 17);
}

#endif
