/* A oneDNN primitive with its memory objects: planned, which chooses an implementation and tells what it takes; made,
 * which generates its machine code; and run many times without allocating. */
#ifndef LECO_BACKEND_CPU_PRIMITIVE_H
#define LECO_BACKEND_CPU_PRIMITIVE_H

#include "backend/backend.h"
#include "backend/cpu/dnnl_compat.h"

enum { PRIMITIVE_SRC, PRIMITIVE_WEIGHTS, PRIMITIVE_BIAS, PRIMITIVE_DST, PRIMITIVE_SCRATCH, PRIMITIVE_ARGS };

/* Zeroed before it is planned; primitive_release puts it back to that. */
typedef struct primitive {
    dnnl_primitive_desc_t planned; /* NULL once it is made */
    dnnl_primitive_t handle;
    dnnl_stream_t stream; /* its own: models may run in several threads at once, and streams are not for sharing */
    dnnl_memory_t memory[PRIMITIVE_ARGS]; /* NULL where there is none */
    bool gradient;                        /* src and dst are diff_dst and diff_src */
    bool bias;
    const char *what; /* for messages: "a convolution" */
    int threads;      /* as many as the scratchpad was counted for */
    size_t scratch_bytes, weight_bytes;
    compat_layout weight_layout;
    char implementation[64];
} primitive;

/* dst [rows,columns] = alpha * src [rows,depth] weights + bias, + dst where `sum`. weights are [columns,depth]
 * row-major where `transposed` (a linear's forward), else [depth,columns] (its data gradient). With a bias, alpha must
 * be 1. */
typedef struct matmul_spec {
    int64_t rows, depth, columns;
    dtype type;
    bool transposed, bias, sum;
    float alpha;
} matmul_spec;

/* NHWC; dst [n,ho,wo,out] from src [n,h,w,in], weights in a layout of the primitive's choice (weight_layout; see
 * primitive_pack). `gradient`: computes src from dst instead (no bias, no sum). */
typedef struct conv_spec {
    int64_t n, h, w, in, ho, wo, out, kh, kw;
    int64_t stride, before[2], after[2];
    dtype type;
    bool bias, sum, gradient;
} conv_spec;

/* Fills in scratch_bytes, weight_bytes, weight_layout and implementation. LECO_UNSUPPORTED, and nothing else, where
 * oneDNN has no implementation that choice.h would use. On failure *p is zeroed. */
leco_status primitive_plan_matmul(primitive *p, const matmul_spec *spec, leco_error *err);
leco_status primitive_plan_conv(primitive *p, const conv_spec *spec, leco_error *err);
/* Makes what was planned. On failure *p is zeroed. */
leco_status primitive_make(primitive *p, leco_error *err);
void primitive_release(primitive *p);

/* Rearranges [out,in,kh,kw] weights of the compute dtype for a conv primitive; `packed` has weight_bytes. */
leco_status primitive_pack(const primitive *p, const void *plain, void *packed, leco_error *err);

/* Out of memory, or an internal error: "oneDNN could not create WHAT". `status` is not dnnl_success. */
leco_status primitive_failure(dnnl_status_t status, const char *what, leco_error *err);

/* Whatever doesn't change between runs may be set once; NULL data leaves an argument as it is. */
void primitive_set(const primitive *p, int arg, const void *data);
void primitive_run(const primitive *p);

#endif
