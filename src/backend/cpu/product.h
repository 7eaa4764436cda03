/* Matrix products with a weight: what linear, its data gradient and 1x1 convolutions share. */
#ifndef LECO_BACKEND_CPU_PRODUCT_H
#define LECO_BACKEND_CPU_PRODUCT_H

#include "backend/cpu/primitive.h"

/* y [rows,columns] = scale * x [rows,depth] (W^T or W) + b + add; W [out,in] is input 1 of the node and x input 0.
 * Indices of b and add among the inputs are -1 where the operator has none. */
typedef struct product_spec {
    const kernel_site *at;
    int64_t rows;
    bool data_gradient; /* y = x W */
    int bias, add;
    float scale;
} product_spec;

typedef struct product {
    primitive primitive;
    int bias, add;        /* as in the spec, -1 also where the node has none */
    bool zero;            /* scale 0: y is only filled */
    bool sum;             /* y is filled first and the product is added to it */
    bool own_bias;        /* the primitive adds it */
    size_t copy_count;    /* elements of a copy in scratch; 0: the weight is used as it is */
    const weight *narrow; /* is kept as int8, and that copy is what it stands for; NULL: the copy is a param's */
    float copy_scale;     /* what that copy is multiplied by */
    dtype compute;
    int64_t rows, columns;
} product;

leco_status product_plan(product *p, const product_spec *spec, kernel_plan *plan, leco_error *err);
leco_status product_prepare(product *p, const kernel_plan *plan, leco_error *err);
void product_run(const product *p, const kernel_args *args);
void product_release(product *p);

#endif
