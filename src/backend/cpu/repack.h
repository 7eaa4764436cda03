/* A convolution's weight that is a param: its values change between runs, so each run rearranges them anew, by a table
 * of places that was made once. Meant for adapters' small weights: the table takes four bytes an element. */
#ifndef LECO_BACKEND_CPU_REPACK_H
#define LECO_BACKEND_CPU_REPACK_H

#include "backend/cpu/gather.h"

typedef struct repack {
    uint32_t *place; /* [count] of each element of the param, in elements of the packed weight */
    size_t count, bytes;
    dtype type;
} repack;

/* For a primitive: [out,in,kh,kw] in its layout, or, rotated by half a turn, [in,out,kh,kw]. */
leco_status repack_for_primitive(repack *r, const tensor *w, const primitive *p, dtype type, bool rotated,
                                 leco_error *err);
/* As gather_place says. */
leco_status repack_for_gather(repack *r, const tensor *w, const gather *g, leco_error *err);
/* packed has r->bytes, 64-byte aligned. */
void repack_run(const repack *r, const float *values, void *packed);
void repack_release(repack *r); /* safe on a zeroed one */

#endif
