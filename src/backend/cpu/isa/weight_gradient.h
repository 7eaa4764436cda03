/* Weight gradients, for linear_dw.c and conv2d_dw.c: dW [N,K] f32 = dy [M,N]^T x [M,K]. Of a convolution x are the
 * windows of an image, K = taps * channels, which are gathered some rows at a time.
 *
 * One of N and K is mostly an adapter's rank, so this reads the wide operand once and is bound by memory. The wide
 * operand's columns lie across vector lanes (B of gemm.h, woven by pairs of rows), the narrow one is broadcast; the
 * result is [narrow][wide], turned round at the end where the wide one is dy. Rows are summed in splits of a size that
 * does not depend on the number of threads, and the splits' sums are added up in their order: nor does the result.
 * Threads share the columns; where there are fewer column blocks than threads, also the splits. */
#ifndef LECO_BACKEND_CPU_ISA_WEIGHT_GRADIENT_H
#define LECO_BACKEND_CPU_ISA_WEIGHT_GRADIENT_H

#include "backend/cpu/isa/isa.h"
#include "backend/cpu/isa/loop.h"
#include "backend/cpu/isa/pack.h"
#include "base/mem.h"

#define COLUMNS (4 * VEC)     /* of the wide operand, at a time */
#define PANEL_UNITS (1 << 16) /* of the wide operand, packed at a time: a quarter of a usual second-level cache */
#define SPLIT_ROWS 256        /* at least so many are summed at a time */

/* Of a convolution: where rows of windows come from. */
typedef struct windows {
    size_t h, w, in, ho, wo, kh, kw, stride, top, left;
} windows;

typedef struct problem {
    size_t rows, narrow, wide, height; /* height: narrow, padded */
    size_t blocks;                     /* of columns */
    size_t at_once;                    /* rows packed at a time */
    size_t splits, split_rows;
    bool wide_is_dy;
    bool gathers; /* x are windows: */
    windows of;
} problem;

/* Into how many shares the columns go, and how many results there are: one for each split where threads share the
 * splits; else the sum so far and, where there are several, the next one. Decided once, for the scratch is counted by
 * it. */
typedef struct division {
    size_t threads, shares, results;
    bool share_splits;
} division;

INLINE problem problem_for(size_t count, size_t dy, size_t x)
{
    problem p = {.rows = count, .wide_is_dy = dy > x};
    p.narrow = dy > x ? x : dy;
    p.wide = dy > x ? dy : x;
    p.height = round_up(p.narrow, GEMM_ROWS_MOST);
    p.blocks = (p.wide + COLUMNS - 1) / COLUMNS;
    p.at_once = PANEL_UNITS / (p.blocks * COLUMNS) / 16 * 16;
    if (p.at_once < 16) p.at_once = 16;
    if (p.at_once > 128) p.at_once = 128;
    /* So many that adding up the results costs nothing beside the products. */
    p.split_rows = round_up(8 * p.height > SPLIT_ROWS ? 8 * p.height : SPLIT_ROWS, p.at_once);
    p.splits = p.rows > p.split_rows ? (p.rows + p.split_rows - 1) / p.split_rows : 1;
    return p;
}

/* Units between column blocks of the packed wide operand: off powers of two, which would all meet in one cache set. */
INLINE size_t panel_stride(const problem *p)
{
    return p->at_once * COLUMNS + VEC;
}

/* Elements of x in a row. */
INLINE size_t x_width(const problem *p)
{
    return p->wide_is_dy ? p->narrow : p->wide;
}

/* Units of a thread: packed rows of either operand; and gathered ones. */
INLINE size_t own_units(const problem *p)
{
    const size_t gathered = p->gathers ? round_up(p->at_once * x_width(p), VEC) : 0;
    return p->blocks * panel_stride(p) + p->at_once * p->height + gathered;
}

/* Floats of one result, of all column blocks. */
INLINE size_t result_units(const problem *p)
{
    return p->blocks * p->height * COLUMNS;
}

static leco_status plan_division(const problem *of, kernel_plan *plan, leco_error *err)
{
    division *d = mem_calloc(1, sizeof *d);
    if (!d) return error_memory(err, sizeof *d, "a weight gradient's plan");
    const problem p = *of;
    d->threads = (size_t)cpu_threads();
    d->share_splits = d->threads > p.blocks && p.splits > 1;
    d->shares = p.blocks < d->threads ? p.blocks : d->threads;
    d->results = d->share_splits ? p.splits : p.splits > 1 ? 2 : 1;
    plan->state = d;
    plan->scratch_bytes = (d->threads * own_units(&p) + d->results * result_units(&p)) * sizeof(unit);
    return LECO_OK;
}

static int division_threads(const problem *p, const division *d)
{
    int wanted = parallel_threads(p->rows * (p->wide + p->narrow) * (1 + p->narrow / 8));
    return (size_t)wanted < d->threads ? wanted : (int)d->threads;
}

/* to [count,taps in] = the windows of positions [first, first + count) of the image x; zeros beside it. */
INLINE void gather_windows(const windows *s, const char *x, char *to, size_t first, size_t count, size_t size)
{
    const size_t pixel = s->in * size;
    for (size_t k = first; k < first + count; k++) {
        const size_t n = k / s->wo / s->ho, i = k / s->wo % s->ho * s->stride, j = k % s->wo * s->stride;
        for (size_t p = 0; p < s->kh; p++) {
            const size_t row = i + p - s->top; /* one beside the image is wrapped round to a large number */
            for (size_t q = 0; q < s->kw; q++, to += pixel) {
                const size_t column = j + q - s->left;
                if (row < s->h && column < s->w)
                    memcpy(to, x + ((n * s->h + row) * s->w + column) * pixel, pixel);
                else
                    memset(to, 0, pixel);
            }
        }
    }
}

/* Packs columns of blocks [first, last) of w.count rows in the order in which they lie in memory. */
INLINE void pack_wide(const problem *p, unit *b, rows w, size_t first, size_t last, bool pairs)
{
    size_t count = w.count, size = w.type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
    const char *base = w.base;
    for (size_t r = 0; r < count; r += unit_width(pairs)) {
        w.count = count - r < unit_width(pairs) ? count - r : unit_width(pairs);
        unit *to = b + r / unit_width(pairs) * COLUMNS;
        for (size_t block = first; block < last; block++) {
            size_t column = block * COLUMNS;
            w.base = base + (r * w.stride + column) * size;
            w.width = p->wide - column;
            if (w.width >= COLUMNS) { /* a constant width, once inlined */
                w.width = COLUMNS;
                pack_woven(to, w, COLUMNS, pairs);
            } else {
                pack_woven(to, w, COLUMNS, pairs);
            }
            to += panel_stride(p);
        }
    }
}

/* Adds `count` floats, whole vectors. */
INLINE void add_result(float *sum, const float *result, size_t count)
{
    for (size_t i = 0; i < count; i += VEC)
        vec_store(sum, DTYPE_F32, i, vec_load(sum, DTYPE_F32, i) + vec_load(result, DTYPE_F32, i));
}

/* result [blocks][height][COLUMNS] = narrow^T wide for column blocks [first, last) and rows [from, to), added to `sum`
 * where that isn't NULL. Rows are the outer loop: the operands stream through once, in the order in which they lie. */
INLINE void product_blocks(const problem *p, rows wide, rows narrow, size_t first, size_t last, size_t from, size_t to,
                           unit *own, float *result, float *sum, bool pairs)
{
    unit *b = own, *a = own + p->blocks * panel_stride(p);
    size_t size = wide.type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float), stride = p->height * COLUMNS;
    for (size_t r = from; r < to; r += p->at_once) {
        rows n = narrow, w = wide;
        n.count = w.count = to - r < p->at_once ? to - r : p->at_once;
        n.base = (const char *)narrow.base + r * narrow.stride * size;
        w.base = (const char *)wide.base + r * wide.stride * size;
        if (p->gathers) {
            char *gathered = (char *)(a + p->at_once * p->height);
            gather_windows(&p->of, p->wide_is_dy ? narrow.base : wide.base, gathered, r, n.count, size);
            *(p->wide_is_dy ? &n.base : &w.base) = gathered;
        }
        pack_woven(a, n, p->height, pairs);
        pack_wide(p, b, w, first, last, pairs);
        for (size_t block = first; block < last; block++) {
            gemm g = {.rows = round_up(p->narrow, GEMM_ROWS), .columns = COLUMNS, .a = a, .a_row = 1};
            g.b = b + (block - first) * panel_stride(p);
            g.a_step = p->height;
            g.depth = (n.count + unit_width(pairs) - 1) / unit_width(pairs);
            g.b_step = COLUMNS;
            g.c = result + (block - first) * stride;
            g.c_row = COLUMNS;
            g.accumulate = r != from;
            gemm_run(&g, pairs);
            if (sum && r + p->at_once >= to) add_result(sum + (block - first) * stride, g.c, p->narrow * COLUMNS);
        }
    }
}

/* Element (narrow i, wide j) of the gradient; of a convolution's, whose taps come last. */
INLINE size_t place(const problem *p, size_t i, size_t j)
{
    const size_t o = p->wide_is_dy ? j : i, k = p->wide_is_dy ? i : j;
    if (!p->gathers) return o * x_width(p) + k;
    return (o * p->of.in + k % p->of.in) * (p->of.kh * p->of.kw) + k / p->of.in;
}

/* The gradient's columns of one block from the sum of `count` results. */
INLINE void finish_block(const problem *p, const kernel_args *args, const float *result, size_t count, size_t block,
                         float scale)
{
    const float *add = args->input[2];
    float *dw = args->output[0];
    size_t first = block * COLUMNS, columns = p->wide - first < COLUMNS ? p->wide - first : COLUMNS;
    for (size_t i = 0; i < p->narrow; i++)
        for (size_t j = 0; j < columns; j++) {
            float sum = 0;
            for (size_t s = 0; s < count; s++) sum += result[s * result_units(p) + i * COLUMNS + j];
            size_t at = place(p, i, first + j);
            dw[at] = add ? scale * sum + add[at] : scale * sum;
        }
}

/* What one thread does of inputs dy and x, and add; the team comes together in it. */
INLINE void gradient_part(const kernel_args *args, const problem *of, dtype type, int part, float scale)
{
    const division *d = args->plan->state;
    const problem p = *of;
    bool pairs = type == DTYPE_BF16 && GEMM_PAIRS;
    unit *own = (unit *)args->scratch + (size_t)part * own_units(&p);
    float *results = (float *)args->scratch + d->threads * own_units(&p);
    rows wide = {.base = args->input[p.wide_is_dy ? 0 : 1], .type = type, .stride = p.wide};
    rows narrow = {.base = args->input[p.wide_is_dy ? 1 : 0], .type = type, .stride = p.narrow, .width = p.narrow};
    size_t each = d->share_splits ? p.splits : 1, stride = p.height * COLUMNS;
#pragma omp for schedule(static)
    for (size_t k = 0; k < d->shares * each; k++) {
        size_t first, last, split = d->share_splits ? k % each : 0, end = d->share_splits ? split + 1 : p.splits;
        parallel_range(p.blocks, 1, (int)(k / each), (int)d->shares, &first, &last);
        float *sum = results + split * result_units(&p) + first * stride, *next = sum + result_units(&p);
        for (size_t s = split; s < end; s++) {
            size_t from = s * p.split_rows, to = from + p.split_rows < p.rows ? from + p.split_rows : p.rows;
            bool later = s > split;
            product_blocks(&p, wide, narrow, first, last, from, to, own, later ? next : sum, later ? sum : NULL, pairs);
        }
    }
#pragma omp for schedule(static)
    for (size_t block = 0; block < p.blocks; block++)
        finish_block(&p, args, results + block * stride, each, block, scale);
}

#endif
