/* linear_dw: dW [N,K] f32 = scale * dy [M,N]^T x [M,K] + add.
 *
 * One of N and K is an adapter's rank, so this reads the wide operand once and is bound by memory. The wide operand's
 * columns lie across vector lanes (B of gemm.h, woven by pairs of rows), the narrow one is broadcast; the result is
 * [narrow][wide], turned round at the end where the wide one is dy. Threads share the columns; where there are fewer
 * column blocks than threads, also the rows, and the partial results are added up. */
#include "backend/cpu/isa/isa.h"
#include "backend/cpu/isa/loop.h"
#include "backend/cpu/isa/pack.h"
#include "base/mem.h"

#define COLUMNS (4 * VEC) /* of the wide operand, at a time */
#define ROWS 128          /* of both, at a time */

typedef struct problem {
    size_t rows, narrow, wide, height; /* height: narrow, padded */
    size_t blocks;                     /* of columns */
    bool wide_is_dy;
} problem;

/* `splits`: how many ways the rows are shared; decided once, for the scratch is counted by it. */
typedef struct division {
    size_t threads, splits;
} division;

static problem problem_of(const node *n)
{
    size_t dy = size_last(n->input[0]), x = size_last(n->input[1]);
    problem p = {.rows = size_rows(n->input[0]), .wide_is_dy = dy > x};
    p.narrow = dy > x ? x : dy;
    p.wide = dy > x ? dy : x;
    p.height = round_up(p.narrow, GEMM_ROWS_MOST);
    p.blocks = (p.wide + COLUMNS - 1) / COLUMNS;
    return p;
}

/* Units of a thread: a woven block of either operand. */
static size_t own_units(const problem *p)
{
    return ROWS * (COLUMNS + p->height);
}

leco_status ISA(linear_dw_prepare)(const node *n, dtype compute, kernel_plan *plan, leco_error *err)
{
    (void)compute;
    division *d = mem_calloc(1, sizeof *d);
    if (!d) return error_memory(err, sizeof *d, "a weight gradient's plan");
    problem p = problem_of(n);
    size_t most = (p.rows + ROWS - 1) / ROWS;
    d->threads = (size_t)cpu_threads();
    d->splits = p.blocks >= d->threads ? 1 : (d->threads + p.blocks - 1) / p.blocks;
    if (d->splits > most) d->splits = most ? most : 1;
    plan->state = d;
    size_t results = p.blocks * d->splits * p.height * COLUMNS;
    plan->scratch_bytes = (d->threads * own_units(&p) + results) * sizeof(unit);
    return LECO_OK;
}

static int linear_dw_threads(const kernel_args *args)
{
    const division *d = args->plan->state;
    problem p = problem_of(args->node);
    int wanted = parallel_threads(p.rows * (p.wide + p.narrow) * (1 + p.narrow / 8));
    return (size_t)wanted < d->threads ? wanted : (int)d->threads;
}

/* result [height][COLUMNS] = narrow^T wide for one block of columns and rows [from, to). */
INLINE void product_block(const problem *p, rows wide, rows narrow, size_t from, size_t to, unit *own, float *result,
                          bool pairs)
{
    unit *b = own, *a = own + ROWS * COLUMNS;
    size_t columns = round_up(wide.width, VEC);
    gemm g = {.rows = round_up(p->narrow, GEMM_ROWS), .columns = columns, .a = a, .a_row = 1, .a_step = p->height};
    g.b = b;
    g.b_step = columns;
    g.c = result;
    g.c_row = COLUMNS;
    if (from == to) memset(result, 0, p->height * COLUMNS * sizeof(float));
    size_t size = wide.type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
    for (size_t r = from; r < to; r += ROWS) {
        rows w = wide, n = narrow;
        w.count = n.count = to - r < ROWS ? to - r : ROWS;
        w.base = (const char *)wide.base + r * wide.stride * size;
        n.base = (const char *)narrow.base + r * narrow.stride * size;
        pack_woven(b, w, columns, pairs);
        pack_woven(a, n, p->height, pairs);
        g.depth = (w.count + unit_width(pairs) - 1) / unit_width(pairs);
        gemm_run(&g, pairs);
        g.accumulate = true;
    }
}

/* Element (narrow i, wide j) of the gradient. */
INLINE size_t place(const problem *p, size_t i, size_t j)
{
    return p->wide_is_dy ? j * p->narrow + i : i * p->wide + j;
}

INLINE void finish_block(const problem *p, const kernel_args *args, const float *result, size_t splits, size_t block)
{
    float scale = args->node->attr.scale;
    const float *add = args->input[2];
    float *dw = args->output[0];
    size_t first = block * COLUMNS, columns = p->wide - first < COLUMNS ? p->wide - first : COLUMNS;
    for (size_t i = 0; i < p->narrow; i++)
        for (size_t j = 0; j < columns; j++) {
            float sum = 0;
            for (size_t s = 0; s < splits; s++) sum += result[(s * p->height + i) * COLUMNS + j];
            size_t at = place(p, i, first + j);
            dw[at] = add ? scale * sum + add[at] : scale * sum;
        }
}

INLINE void linear_dw_part(const kernel_args *args, dtype type, int part, int parts)
{
    (void)parts;
    const division *d = args->plan->state;
    problem p = problem_of(args->node);
    bool pairs = type == DTYPE_BF16 && GEMM_PAIRS;
    unit *own = (unit *)args->scratch + (size_t)part * own_units(&p);
    float *results = (float *)args->scratch + d->threads * own_units(&p);
    rows wide = {.base = args->input[p.wide_is_dy ? 0 : 1], .type = type, .stride = p.wide};
    rows narrow = {.base = args->input[p.wide_is_dy ? 1 : 0], .type = type, .stride = p.narrow, .width = p.narrow};
    size_t size = type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
#pragma omp for schedule(static)
    for (size_t k = 0; k < p.blocks * d->splits; k++) {
        size_t block = k / d->splits, first = block * COLUMNS, from, to;
        rows w = wide;
        w.base = (const char *)wide.base + first * size;
        w.width = p.wide - first < COLUMNS ? p.wide - first : COLUMNS;
        parallel_range(p.rows, ROWS, (int)(k % d->splits), (int)d->splits, &from, &to);
        product_block(&p, w, narrow, from, to, own, results + k * p.height * COLUMNS, pairs);
    }
#pragma omp for schedule(static)
    for (size_t block = 0; block < p.blocks; block++)
        finish_block(&p, args, results + block * d->splits * p.height * COLUMNS, d->splits, block);
}

ISA_DEFINE(linear_dw)
