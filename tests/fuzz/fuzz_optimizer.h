/* Arguments of an optimizer, by its row's table: for the fuzzers that read some. */
#ifndef FUZZ_OPTIMIZER_H
#define FUZZ_OPTIMIZER_H

#include <math.h>
#include <stdio.h>

#include "fuzz.h"
#include "train/optimizer.h"

static inline void fuzz_check_arguments(const optimizer_options *o)
{
    const optimizer_argument *a = optimizer_rows[o->kind]->argument;
    for (size_t i = 0; a[i].key; i++)
        for (int k = 0; k < (a[i].form == ARGUMENT_PAIR ? 2 : 1); k++)
            FUZZ_CHECK(a[i].form == ARGUMENT_FLAG ? o->value[i][k] == 0 || o->value[i][k] == 1
                       : a[i].form == ARGUMENT_OPTIONAL && o->value[i][k] == OPTIMIZER_NONE
                           ? true
                           : o->value[i][k] >= a[i].low && (o->value[i][k] < a[i].high || isinf(a[i].high)));
}

/* "key=value key=value", as it could have been read. */
static inline void fuzz_put_arguments(FILE *out, const optimizer_options *o)
{
    const optimizer_argument *a = optimizer_rows[o->kind]->argument;
    for (size_t i = 0; a[i].key; i++) {
        fprintf(out, "%s%s=", i ? " " : "", a[i].key);
        const bool none = a[i].form == ARGUMENT_OPTIONAL && o->value[i][0] == OPTIMIZER_NONE;
        if (none) fputs("None", out);
        if (a[i].form == ARGUMENT_NUMBER || (a[i].form == ARGUMENT_OPTIONAL && !none))
            fprintf(out, "%.17g", o->value[i][0]);
        if (a[i].form == ARGUMENT_PAIR) fprintf(out, "(%.17g,%.17g)", o->value[i][0], o->value[i][1]);
        if (a[i].form == ARGUMENT_FLAG) fputs(o->value[i][0] != 0 ? "True" : "False", out);
    }
}

#endif
