/* The arguments of optimizers by their names. */
#ifndef TEST_OPTIMIZER_H
#define TEST_OPTIMIZER_H

#include <string.h>

#include "test_support.h"
#include "train/optimizer.h"

/* [2], of which a pair has both. */
static inline const double *argument_of(const optimizer_options *o, const char *key)
{
    const optimizer_argument *a = optimizer_rows[o->kind]->argument;
    size_t i = 0;
    while (a[i].key && strcmp(a[i].key, key) != 0) i++;
    if (!a[i].key) fail_msg("%s has no argument %s", optimizer_rows[o->kind]->name, key);
    return o->value[i];
}

#endif
