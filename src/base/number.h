/* Numbers on their way into messages. */
#ifndef LECO_BASE_NUMBER_H
#define LECO_BASE_NUMBER_H

#include <math.h>

/* For printf's sake: a NaN without its sign, which says nothing and would be shown ("-nan"); all others as they are. */
static inline double number_shown(double value)
{
    return isnan(value) ? (double)NAN : value;
}

#endif
