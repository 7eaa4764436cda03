#include "backend/cpu/gather.h"

#include <string.h>

#include "backend/cpu/parallel.h"
#include "base/mem.h"

#define BLOCK_BYTES (1 << 20) /* of gathered windows: they should still be in cache when the product reads them */

/* A weight for gathering is found again by this. */
typedef struct gather_key {
    char what[16];
    int64_t gradient, type;
} gather_key;

/* [out,kh,kw,in], or [in,kh,kw,out] for the gradient. */
int64_t gather_place(const gather *g, int64_t out, int64_t in, int64_t tap)
{
    const conv_spec *s = &g->spec;
    int64_t taps = s->kh * s->kw;
    return s->gradient ? (in * taps + tap) * s->out + out : (out * taps + tap) * s->in + in;
}

static void arrange(const gather *g, char *to, const char *from, size_t size)
{
    const conv_spec *s = &g->spec;
    int64_t taps = s->kh * s->kw;
    for (int64_t o = 0; o < s->out; o++)
        for (int64_t i = 0; i < s->in; i++)
            for (int64_t t = 0; t < taps; t++)
                memcpy(to + (size_t)gather_place(g, o, i, t) * size, from + (size_t)((o * s->in + i) * taps + t) * size,
                       size);
}

leco_status gather_want(const gather *g, weight *w, const device_memory *m, weight_form **out, leco_error *err)
{
    gather_key key;
    memset(&key, 0, sizeof key);
    memcpy(key.what, "gather", 7);
    key.gradient = g->spec.gradient;
    key.type = g->spec.type;
    return weight_want(w, m, &key, sizeof key, (size_t)shape_count(&w->shape) * dtype_size(g->spec.type), out, err);
}

leco_status gather_fill(const gather *g, const weight *w, weight_form *f, leco_error *err)
{
    if (f->data) return LECO_OK;
    void *plain = mem_aligned(f->bytes);
    if (!plain) return error_memory(err, f->bytes, w->name);
    leco_status status = weight_take(w, f, err);
    if (status == LECO_OK) {
        dtype_convert(plain, g->spec.type, w->data, w->type, (size_t)shape_count(&w->shape));
        arrange(g, f->data, plain, dtype_size(g->spec.type));
    }
    mem_free_aligned(plain);
    return status;
}

static leco_status plan_product(const gather *g, primitive *p, int64_t rows, leco_error *err)
{
    if (rows == 0) return LECO_OK;
    matmul_spec m = {.rows = rows,
                     .depth = g->width,
                     .columns = g->to_channels,
                     .type = g->spec.type,
                     .transposed = true,
                     .bias = g->spec.bias,
                     .sum = g->spec.sum,
                     .alpha = 1.0f};
    return primitive_plan_matmul(p, &m, err);
}

static size_t block_bytes(const gather *g)
{
    return ((size_t)(g->block * g->width) * dtype_size(g->spec.type) + 63) / 64 * 64;
}

leco_status gather_plan(gather *g, const conv_spec *spec, leco_error *err)
{
    memset(g, 0, sizeof *g);
    g->spec = *spec;
    g->rows = spec->gradient ? spec->n * spec->h * spec->w : spec->n * spec->ho * spec->wo;
    g->from_channels = spec->gradient ? spec->out : spec->in;
    g->to_channels = spec->gradient ? spec->in : spec->out;
    g->width = spec->kh * spec->kw * g->from_channels;
    g->block = BLOCK_BYTES / (g->width * (int64_t)dtype_size(spec->type));
    if (g->block < 64) g->block = 64;
    if (g->block > g->rows) g->block = g->rows;
    leco_status status = plan_product(g, &g->whole, g->block, err);
    if (status == LECO_OK) status = plan_product(g, &g->rest, g->rows % g->block, err);
    if (status != LECO_OK) {
        gather_release(g);
        return status;
    }
    size_t own = g->whole.scratch_bytes > g->rest.scratch_bytes ? g->whole.scratch_bytes : g->rest.scratch_bytes;
    g->scratch_bytes = block_bytes(g) + own;
    return LECO_OK;
}

leco_status gather_prepare(gather *g, leco_error *err)
{
    LECO_TRY(primitive_make(&g->whole, err));
    return g->rest.planned ? primitive_make(&g->rest, err) : LECO_OK;
}

void gather_set_weights(const gather *g, const void *weights)
{
    primitive_set(&g->whole, PRIMITIVE_WEIGHTS, weights);
    primitive_set(&g->rest, PRIMITIVE_WEIGHTS, weights);
}

void gather_set_bias(gather *g, const void *bias)
{
    primitive_set(&g->whole, PRIMITIVE_BIAS, bias);
    primitive_set(&g->rest, PRIMITIVE_BIAS, bias);
}

/* Where along one axis tap `t` of output position `at` reads, or -1 for a zero. */
static int64_t source(const conv_spec *s, int axis, int64_t at, int64_t t, int64_t size)
{
    int64_t from;
    if (s->gradient) {
        from = at + s->before[axis] - t;
        if (from < 0 || from % s->stride != 0) return -1;
        from /= s->stride;
    } else {
        from = at * s->stride + t - s->before[axis];
    }
    return from >= 0 && from < size ? from : -1;
}

static void gather_window(const gather *g, char *to, const char *src, int64_t row)
{
    const conv_spec *s = &g->spec;
    int64_t height = s->gradient ? s->h : s->ho, width = s->gradient ? s->w : s->wo;
    int64_t from_h = s->gradient ? s->ho : s->h, from_w = s->gradient ? s->wo : s->w;
    int64_t x = row % width, y = row / width % height, n = row / width / height;
    size_t bytes = (size_t)g->from_channels * dtype_size(s->type);
    for (int64_t p = 0; p < s->kh; p++)
        for (int64_t q = 0; q < s->kw; q++, to += bytes) {
            int64_t i = source(s, 0, y, p, from_h), j = source(s, 1, x, q, from_w);
            if (i < 0 || j < 0)
                memset(to, 0, bytes);
            else
                memcpy(to, src + (size_t)((n * from_h + i) * from_w + j) * bytes, bytes);
        }
}

void gather_run(const gather *g, const void *src, void *dst, void *scratch)
{
    size_t size = dtype_size(g->spec.type);
    for (int64_t first = 0; first < g->rows; first += g->block) {
        int64_t count = g->rows - first < g->block ? g->rows - first : g->block;
        int threads = parallel_threads((size_t)(count * g->width));
#pragma omp parallel for num_threads(threads) if (threads > 1)
        for (int64_t r = 0; r < count; r++)
            gather_window(g, (char *)scratch + (size_t)(r * g->width) * size, src, first + r);
        const primitive *p = count == g->block ? &g->whole : &g->rest;
        primitive_set(p, PRIMITIVE_SRC, scratch);
        primitive_set(p, PRIMITIVE_DST, (char *)dst + (size_t)(first * g->to_channels) * size);
        primitive_set(p, PRIMITIVE_SCRATCH, (char *)scratch + block_bytes(g));
        primitive_run(p);
    }
}

void gather_release(gather *g)
{
    primitive_release(&g->whole);
    primitive_release(&g->rest);
}
