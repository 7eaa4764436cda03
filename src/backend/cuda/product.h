/* Matrix products: y [rows,columns] = scale * a b + bias [columns] + add [rows,columns], through cuBLASLt. */
#ifndef LECO_CUDA_PRODUCT_H
#define LECO_CUDA_PRODUCT_H

#include "backend/cuda/launch.h"
#include "base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gpu_product {
    int64_t rows, columns, depth;
    bool a_transposed; /* a is [depth,rows], else [rows,depth] */
    bool b_transposed; /* b is [columns,depth], else [depth,columns] */
    bool has_bias, has_add;
    float scale;
    gpu_type type; /* of a, b and bias */
    gpu_type out;  /* of y and add: type, or F32 */
    int alignment; /* bytes, of a, b, y and add; 0: as memory plans align */
    size_t scratch_bytes;
    void *impl; /* of gpu_product_plan */
} gpu_product;

/* Loads and starts cuBLASLt, once, before anything is planned. LECO_UNSUPPORTED, saying why, where it is missing or
 * doesn't start. */
leco_status gpu_product_open(leco_error *err);
/* Chooses how; the caller has set all but the last two members. LECO_UNSUPPORTED where cuBLASLt has no way. Release
 * also what failed. */
leco_status gpu_product_plan(gpu_product *p, leco_error *err);
/* bias and add may be NULL where there are none; add may be y. scratch: scratch_bytes. */
void gpu_product_run(const gpu_product *p, const void *a, const void *b, const void *bias, const void *add, void *y,
                     void *scratch);
void gpu_product_release(gpu_product *p); /* safe on a zeroed one */

#ifdef __cplusplus
}
#endif

#endif
