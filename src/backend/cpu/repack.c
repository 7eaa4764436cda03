#include "backend/cpu/repack.h"

#include <string.h>

#include "backend/cpu/parallel.h"
#include "base/mem.h"

static leco_status begin(repack *r, const tensor *w, size_t bytes, dtype type, leco_error *err)
{
    r->count = (size_t)shape_count(&w->shape);
    r->bytes = bytes;
    r->type = type;
    if (bytes / dtype_size(type) > UINT32_MAX)
        return error_set(err, LECO_UNSUPPORTED, "%s: a convolution's weight with more than 2^32 elements", w->name);
    r->place = mem_calloc(r->count, sizeof *r->place);
    return r->place ? LECO_OK : error_memory(err, r->count * sizeof *r->place, w->name);
}

/* Where oneDNN has the element at `position`: the inner blocks, from the innermost out, then the strides. */
static int64_t place_in(const compat_layout *l, int64_t position[4])
{
    int64_t at = 0, stride = 1;
    for (int64_t k = l->blocks - 1; k >= 0; k--) {
        int64_t *along = &position[l->block_dim[k]];
        at += *along % l->block[k] * stride;
        *along /= l->block[k];
        stride *= l->block[k];
    }
    for (int64_t d = 0; d < 4; d++) at += position[d] * l->strides[d];
    return at;
}

leco_status repack_for_primitive(repack *r, const tensor *w, const primitive *p, dtype type, bool rotated,
                                 leco_error *err)
{
    const int64_t *dim = w->shape.dim, taps = dim[2] * dim[3];
    LECO_TRY(begin(r, w, p->weight_bytes, type, err));
    for (size_t i = 0; i < r->count; i++) {
        int64_t tap = (int64_t)i % taps, in = (int64_t)i / taps % dim[1], out = (int64_t)i / taps / dim[1];
        if (rotated) tap = taps - 1 - tap;
        int64_t position[4] = {rotated ? in : out, rotated ? out : in, tap / dim[3], tap % dim[3]};
        r->place[i] = (uint32_t)place_in(&p->weight_layout, position);
    }
    return LECO_OK;
}

leco_status repack_for_gather(repack *r, const tensor *w, const gather *g, leco_error *err)
{
    LECO_TRY(begin(r, w, (size_t)shape_count(&w->shape) * dtype_size(g->spec.type), g->spec.type, err));
    const int64_t *dim = w->shape.dim, taps = dim[2] * dim[3];
    for (size_t i = 0; i < r->count; i++) {
        int64_t tap = (int64_t)i % taps, in = (int64_t)i / taps % dim[1], out = (int64_t)i / taps / dim[1];
        r->place[i] = (uint32_t)gather_place(g, out, in, tap);
    }
    return LECO_OK;
}

void repack_run(const repack *r, const float *values, void *packed)
{
    const size_t count = r->count;
    const int threads = parallel_threads(count / 4);                         /* an element takes a nanosecond */
    if (r->bytes > count * dtype_size(r->type)) memset(packed, 0, r->bytes); /* what fills up the blocks */
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (size_t i = 0; i < count; i++) {
        if (r->type == DTYPE_BF16)
            ((bf16 *)packed)[r->place[i]] = bf16_from_f32(values[i]);
        else
            ((float *)packed)[r->place[i]] = values[i];
    }
}

void repack_release(repack *r)
{
    mem_free(r->place);
    memset(r, 0, sizeof *r);
}
