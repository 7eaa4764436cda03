/* The gradient of attention, recomputing the probabilities from the log-sum-exp.
 *
 * Keys lie across vector lanes, KEYS at a time; queries run down the rows, QUERIES at a time. For each pair of blocks:
 *     S = Q K^T,  dP = dO V^T                                  [QUERIES][KEYS], STRIP rows at a time
 *     P = exp2(c S - lse log2 e),  dS = P (dP - delta)          delta = sum of dO * O over a row
 *     dV^T += dO^T P,  dK^T += Q^T dS                           [D][KEYS], in cache while the block of keys lasts
 *     dQ   += dS K                                              [queries][D] f32, in scratch
 * Where there are few heads, a head's keys are divided into parts that do not depend on the number of threads, each
 * with a dQ of its own; these are added up in their order, so that neither do results. An item of work is one head of
 * one sample, or one part of it where there are fewer heads than threads. */
#include <math.h>

#include "backend/cpu/isa/isa.h"
#include "backend/cpu/isa/loop.h"
#include "backend/cpu/isa/pack.h"
#include "base/mem.h"

/* Keys are whole vectors for every width there is; a strip's scores stay in the first-level cache until they are
 * probabilities. Tiles multiply 32 queries or keys at least. All of the `pairs` where they stand. */
#define KEYS ((size_t)(GEMM_TILES && pairs ? 128 : 192))
#define QUERIES ((size_t)64)
#define STRIP ((size_t)(GEMM_TILES && pairs ? 32 : 16))
#define LANES (GEMM_TILES && pairs ? 2 * TILE : VEC) /* that are computed: a multiple of these */
#define LOG2E 1.44269504088896341f
#define ITEMS 64 /* parts are made until there are so many items to share */

enum { IN_Q, IN_K, IN_V, IN_O, IN_LSE, IN_DO };
enum { OUT_Q, OUT_K, OUT_V };

typedef struct problem {
    size_t samples, heads, queries, keys, width, channels;
    size_t parts; /* of a head's keys */
    float scale;
    bool causal, pairs, want_q, want_k, want_v;
    dtype type;
} problem;

typedef struct work {
    size_t units, height, span;     /* head width: in units, as padded rows, as whole vectors */
    unit *k_rows, *k, *v, *k_woven; /* [KEYS][units], [units][KEYS] both, [KEYS][span] */
    unit *q, *g;                    /* [QUERIES][units]: Q and dO */
    unit *q_woven, *g_woven;        /* [QUERIES][height]; of tiles [height][QUERIES] */
    unit *woven;                    /* [QUERIES][height], of tiles */
    float *s, *dp;                  /* [STRIP][KEYS] */
    unit *p_woven, *ds_woven, *ds;  /* [QUERIES][KEYS] in units; ds, by rows, is ds_woven where units are floats */
    float *dk, *dv;                 /* [height][KEYS] */
    float *dq, *next;               /* [padded queries][span]; next: of one part, where a thread runs several */
    float *lse, *delta;             /* [padded queries] */
    float *scale;                   /* [KEYS]: what a block of keys is multiplied by on its way out */
} work;

static problem problem_of(const node *n)
{
    const tensor *q = n->input[IN_Q], *k = n->input[IN_K];
    problem p = {.samples = size_dim(q, 0), .heads = (size_t)n->attr.heads, .channels = size_last(q)};
    p.queries = size_rows(q) / p.samples;
    p.keys = size_rows(k) / p.samples;
    p.width = p.channels / p.heads;
    p.scale = n->attr.scale;
    p.causal = n->attr.causal;
    p.type = q->type;
    p.pairs = p.type == DTYPE_BF16 && GEMM_PAIRS;
    p.want_q = n->output[OUT_Q] != NULL;
    p.want_k = n->output[OUT_K] != NULL;
    p.want_v = n->output[OUT_V] != NULL;
    const bool pairs = p.pairs;
    size_t heads = p.samples * p.heads, key_blocks = (p.keys + KEYS - 1) / KEYS;
    p.parts = (ITEMS + heads - 1) / heads;
    if (p.parts > key_blocks) p.parts = key_blocks;
    if (p.causal) p.parts = 1; /* a later part would not reach all queries; sequences are short */
    return p;
}

/* The blocks of a thread but for dQ, lse and delta, which belong to an item. Returns the bytes they take. */
static size_t work_layout(const problem *p, char *base, work *w)
{
    const bool pairs = p->pairs;
    size_t at = 0;
    w->units = depth_of(p->width, pairs);
    w->height = round_up(p->width, GEMM_TILED_ROWS_MOST(pairs));
    w->span = round_up(p->width, VEC);
#define TAKE(field, count)                                                                                             \
    w->field = (void *)(base + at);                                                                                    \
    at += round_up((count) * sizeof *w->field, 64)
    TAKE(k_rows, KEYS * w->units + VEC);
    TAKE(k, KEYS * w->units);
    TAKE(v, KEYS * w->units);
    TAKE(k_woven, KEYS * w->span);
    TAKE(q, QUERIES * w->units);
    TAKE(g, QUERIES * w->units);
    TAKE(q_woven, QUERIES * w->height);
    TAKE(g_woven, QUERIES * w->height);
    TAKE(woven, GEMM_TILES && pairs ? QUERIES / 2 * w->height : 0);
    TAKE(s, STRIP * KEYS);
    TAKE(dp, STRIP * KEYS);
    TAKE(p_woven, QUERIES / unit_width(pairs) * KEYS);
    TAKE(ds_woven, QUERIES / unit_width(pairs) * KEYS);
    TAKE(ds, pairs ? QUERIES * KEYS / 2 : 0);
    TAKE(dk, (w->height + VEC) * KEYS);
    TAKE(dv, (w->height + VEC) * KEYS);
    TAKE(scale, KEYS);
#undef TAKE
    if (!pairs) w->ds = w->ds_woven;
    return at;
}

/* Decided once, so that run divides the scratch as plan counted it, whatever cpu_threads() says by then. */
typedef struct division {
    size_t threads, items;
    bool share_parts; /* an item is a part of a head, not all of it */
} division;

static size_t item_layout(const problem *p, const division *d, char *base, work *w)
{
    size_t padded = round_up(p->queries, QUERIES), at = 0;
    size_t dq = round_up((p->want_q ? padded * round_up(p->width, VEC) : 0) * sizeof(float), 64);
    w->dq = (float *)(void *)(base + at);
    at += dq;
    w->next = (float *)(void *)(base + at);
    at += d->share_parts || p->parts == 1 ? 0 : dq;
    w->lse = (float *)(void *)(base + at);
    at += padded * sizeof(float);
    w->delta = (float *)(void *)(base + at);
    at += padded * sizeof(float);
    return round_up(at, 64);
}

static leco_status attention_grad_plan(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    division *d = mem_calloc(1, sizeof *d);
    if (!d) return error_memory(err, sizeof *d, "an attention gradient's plan");
    problem p = problem_of(at->node);
    size_t heads = p.samples * p.heads;
    d->threads = (size_t)cpu_threads();
    d->share_parts = d->threads > heads && p.parts > 1;
    d->items = d->share_parts ? heads * p.parts : heads;
    static char nowhere[1]; /* layout only counts */
    work w;
    size_t slots = d->share_parts ? d->items : d->threads;
    plan->state = d;
    plan->scratch_bytes = d->threads * work_layout(&p, nowhere, &w) + slots * item_layout(&p, d, nowhere, &w);
    return LECO_OK;
}

INLINE rows head_rows(const problem *p, const void *base, dtype type, size_t row, size_t head, size_t count)
{
    rows m = {.type = type, .stride = p->channels, .count = count, .width = p->width};
    size_t size = type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
    m.base = (const char *)base + (row * p->channels + head * p->width) * size;
    return m;
}

/* lse in powers of two and delta of each query; padded ones get an lse that makes their probabilities vanish. */
INLINE void start_item(const problem *p, const work *w, const kernel_args *args, size_t sample, size_t head, dtype type)
{
    size_t padded = round_up(p->queries, QUERIES);
    const float *lse = (const float *)args->input[IN_LSE] + (sample * p->heads + head) * p->queries;
    for (size_t i = 0; i < p->queries; i++) {
        size_t at = (sample * p->queries + i) * p->channels + head * p->width, d = 0;
        vec sum = vec_zero();
        for (; d + VEC <= p->width; d += VEC)
            sum += vec_load(args->input[IN_O], type, at + d) * vec_load(args->input[IN_DO], type, at + d);
        if (d < p->width)
            sum += vec_load_part(args->input[IN_O], type, at + d, p->width - d) *
                   vec_load_part(args->input[IN_DO], type, at + d, p->width - d);
        w->delta[i] = vec_sum(sum);
        w->lse[i] = lse[i] * LOG2E;
    }
    for (size_t i = p->queries; i < padded; i++) {
        w->delta[i] = 0;
        w->lse[i] = 1e30f;
    }
}

INLINE void start_keys(const problem *p, const work *w, const kernel_args *args, size_t row, size_t head, size_t count,
                       dtype type, bool pairs)
{
    rows k = head_rows(p, args->input[IN_K], type, row, head, count);
    pack_rows(w->k_rows, k, KEYS, w->units, pairs);
    pack_transpose(w->k, w->k_rows, KEYS, w->units);
    if (p->want_q) {
        pack_woven(w->k_woven, k, w->span, pairs);
        pack_zeros(w->k_woven, units_of(count, pairs), depth_of(count, pairs), w->span);
    }
    pack_rows(w->k_rows, head_rows(p, args->input[IN_V], type, row, head, count), KEYS, w->units, pairs);
    pack_transpose(w->v, w->k_rows, KEYS, w->units);
    memset(w->dk, 0, w->height * KEYS * sizeof(float));
    memset(w->dv, 0, w->height * KEYS * sizeof(float));
}

/* A pair of blocks: queries [query, query + have), keys [key, key + count). */
typedef struct pair {
    size_t query, have, key, count;
    size_t lanes;    /* count, as whole LANES */
    bool first;      /* block of keys of its part: dQ is overwritten, not added to */
    float *dq, *sum; /* where the part's dQ accumulates; what this block's rows of it are added to, or NULL */
} pair;

/* Key lane i of the block is visible to query q if i < count and, causally, key + i <= q. */
INLINE veci visible(const problem *p, const pair *b, size_t lane, size_t query)
{
    size_t reach = b->count;
    if (p->causal) {
        size_t causal = query + 1 > b->key ? query + 1 - b->key : 0;
        if (causal < reach) reach = causal;
    }
    return vec_count_from((int)lane) < (int)reach;
}

/* P and dS of the strip from row `first` on, in the forms the products want. `edge`: some of it is masked. */
INLINE void probabilities(const problem *p, const work *w, const pair *b, size_t first, bool edge, bool pairs)
{
    float scale = p->scale * LOG2E;
    for (size_t r = 0; r < STRIP; r += 2) {
        const float *lse = w->lse + b->query + first + r, *delta = w->delta + b->query + first + r;
        size_t row = (first + r) / unit_width(pairs) * KEYS;
        for (size_t c = 0; c < b->lanes; c += VEC) {
            vec prob[2], ds[2];
#pragma GCC unroll 2
            for (size_t i = 0; i < 2; i++) {
                size_t at = (r + i) * KEYS + c;
                prob[i] = vec_exp2(scale * vec_load(w->s, DTYPE_F32, at) - lse[i], pairs);
                if (edge) prob[i] = vec_select(visible(p, b, c, b->query + first + r + i), prob[i], vec_zero());
                ds[i] = prob[i] * (vec_load(w->dp, DTYPE_F32, at) - delta[i]);
                if (pairs) {
                    vec_store(w->ds, DTYPE_BF16, (first + r + i) * KEYS + c, ds[i]);
                } else {
                    vec_store(w->p_woven, DTYPE_F32, row + i * KEYS + c, prob[i]);
                    vec_store(w->ds_woven, DTYPE_F32, row + i * KEYS + c, ds[i]);
                }
            }
            if (pairs) {
                vecu p_two = pack_two_floats(prob[0], prob[1]), ds_two = pack_two_floats(ds[0], ds[1]);
                memcpy(w->p_woven + row + c, &p_two, sizeof p_two);
                memcpy(w->ds_woven + row + c, &ds_two, sizeof ds_two);
            }
        }
    }
}

/* C [STRIP][KEYS] = A [STRIP][D] B [D][KEYS]. */
INLINE void score_product(const work *w, const pair *b, const unit *down, const unit *across, float *c, bool pairs)
{
    gemm g = {.rows = STRIP, .columns = b->lanes, .depth = w->units, .a = down, .a_row = w->units, .a_step = 1};
    g.b = across;
    g.b_step = g.c_row = KEYS;
    g.c = c;
    g.tiled = GEMM_TILES && pairs;
    gemm_run(&g, pairs);
}

/* A block of Q or dO for that: woven, or turned for tiles, with the probabilities' padding of queries. */
INLINE void pack_queries(const work *w, unit *to, rows m, bool pairs)
{
    if (GEMM_TILES && pairs)
        pack_columns(to, w->woven, m, w->height, round_up(m.count, STRIP) / 2);
    else
        pack_woven(to, m, w->height, pairs);
}

/* C [D][KEYS] += A^T B with A [QUERIES][D] woven, B [QUERIES][KEYS] woven. */
INLINE void key_product(const problem *p, const work *w, const pair *b, const unit *down, const unit *across, float *c,
                        bool pairs)
{
    gemm g = {.rows = round_up(p->width, GEMM_TILED_ROWS(pairs)), .columns = b->lanes, .a = down, .b = across};
    g.tiled = GEMM_TILES && pairs;
    g.depth = g.tiled ? round_up(b->have, STRIP) / 2 : units_of(b->have, pairs);
    g.a_row = g.tiled ? g.depth : 1;
    g.a_step = g.tiled ? 1 : w->height;
    g.b_step = g.c_row = KEYS;
    g.c = c;
    g.accumulate = true;
    gemm_run(&g, pairs);
}

INLINE void query_block(const problem *p, const work *w, const kernel_args *args, const pair *b, size_t sample,
                        size_t head, dtype type, bool pairs)
{
    size_t padded = round_up(b->have, STRIP);
    rows q = head_rows(p, args->input[IN_Q], type, sample * p->queries + b->query, head, b->have);
    rows g = head_rows(p, args->input[IN_DO], type, sample * p->queries + b->query, head, b->have);
    bool edge = b->count < b->lanes || (p->causal && b->key + b->count > b->query + 1);
    pack_rows(w->q, q, padded, w->units, pairs);
    pack_rows(w->g, g, padded, w->units, pairs);
    for (size_t r = 0; r < padded; r += STRIP) {
        score_product(w, b, w->q + r * w->units, w->k, w->s, pairs);
        score_product(w, b, w->g + r * w->units, w->v, w->dp, pairs);
        if (edge)
            probabilities(p, w, b, r, true, pairs);
        else
            probabilities(p, w, b, r, false, pairs);
    }
    if (p->want_v) {
        pack_queries(w, w->g_woven, g, pairs);
        key_product(p, w, b, w->g_woven, w->p_woven, w->dv, pairs);
    }
    if (p->want_k) {
        pack_queries(w, w->q_woven, q, pairs);
        key_product(p, w, b, w->q_woven, w->ds_woven, w->dk, pairs);
    }
    if (p->want_q) {
        gemm product = {.rows = padded, .columns = w->span, .a = w->ds, .a_step = 1, .b = w->k_woven};
        product.tiled = GEMM_TILES && pairs;
        product.depth = depth_of(b->count, pairs);
        product.a_row = KEYS / unit_width(pairs);
        product.b_step = product.c_row = w->span;
        product.c = b->dq + b->query * w->span;
        product.accumulate = !b->first;
        gemm_run(&product, pairs);
        for (size_t i = b->query * w->span; b->sum && i < (b->query + padded) * w->span; i += VEC)
            vec_store(b->sum, DTYPE_F32, i, vec_load(b->sum, DTYPE_F32, i) + vec_load(b->dq, DTYPE_F32, i));
    }
}

/* Writes a block of dK or dV, turned back into rows. */
INLINE void finish_keys(const problem *p, const work *w, const float *block, void *to, size_t row, size_t head,
                        size_t count, float scale, dtype type, bool pairs)
{
    for (size_t i = 0; i < KEYS; i++) w->scale[i] = scale;
    size_t size = type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
    rows m = {.type = type, .stride = p->channels, .count = count, .width = p->width};
    unpack_columns(m, (char *)to + (row * p->channels + head * p->width) * size, block, KEYS, w->scale);
}

/* dQ of queries [from, to) of one head: the sum of `slots` partial ones that lie `stride` floats apart. */
INLINE void finish_queries(const problem *p, const float *dq, size_t slots, size_t stride, void *to_data, size_t sample,
                           size_t head, size_t from, size_t to, dtype type)
{
    size_t span = round_up(p->width, VEC);
    for (size_t i = from; i < to; i++) {
        size_t row = (sample * p->queries + i) * p->channels + head * p->width;
        for (size_t d = 0; d < p->width; d += VEC) {
            vec sum = vec_load(dq, DTYPE_F32, i * span + d);
            for (size_t s = 1; s < slots; s++) sum += vec_load(dq, DTYPE_F32, s * stride + i * span + d);
            vec_store_part(to_data, type, row + d, p->scale * sum, p->width - d < VEC ? p->width - d : VEC);
        }
    }
}

/* One part of a head's keys; its dQ goes to `dq` and, once it is complete, is added to `sum` (or not, where NULL). */
INLINE void run_part(const problem *p, const work *w, const kernel_args *args, size_t sample, size_t head, size_t part,
                     float *dq, float *sum, dtype type, bool pairs)
{
    size_t from, to;
    parallel_range(p->keys, KEYS, (int)part, (int)p->parts, &from, &to);
    for (size_t key = from; key < to; key += KEYS) {
        size_t count = to - key < KEYS ? to - key : KEYS, row = sample * p->keys + key;
        start_keys(p, w, args, row, head, count, type, pairs);
        size_t first = p->causal ? key / QUERIES * QUERIES : 0;
        pair b = {.key = key, .count = count, .lanes = round_up(count, LANES), .first = key == from, .dq = dq};
        b.sum = key + count == to ? sum : NULL;
        for (b.query = first; b.query < p->queries; b.query += QUERIES) {
            b.have = p->queries - b.query < QUERIES ? p->queries - b.query : QUERIES;
            query_block(p, w, args, &b, sample, head, type, pairs);
        }
        if (p->want_k) finish_keys(p, w, w->dk, args->output[OUT_K], row, head, count, p->scale, type, pairs);
        if (p->want_v) finish_keys(p, w, w->dv, args->output[OUT_V], row, head, count, 1.0f, type, pairs);
    }
}

INLINE void run_item(const problem *p, const division *d, const work *w, const kernel_args *args, size_t item,
                     dtype type, bool pairs)
{
    size_t index = d->share_parts ? item / p->parts : item, head = index % p->heads, sample = index / p->heads;
    size_t first = d->share_parts ? item % p->parts : 0, last = d->share_parts ? first + 1 : p->parts;
    start_item(p, w, args, sample, head, type);
    for (size_t part = first; part < last; part++) {
        bool later = part > first;
        run_part(p, w, args, sample, head, part, later ? w->next : w->dq, later ? w->dq : NULL, type, pairs);
    }
    if (p->want_q && !d->share_parts)
        finish_queries(p, w->dq, 1, 0, args->output[OUT_Q], sample, head, 0, p->queries, type);
}

static int attention_grad_threads(const kernel_args *args)
{
    const division *d = args->plan->state;
    const tensor *q = args->node->input[IN_Q], *k = args->node->input[IN_K];
    size_t scores = size_count(q) / size_last(q) * (size_rows(k) / size_dim(k, 0)) * (size_t)args->node->attr.heads;
    int wanted = parallel_threads(4 * scores);
    return (size_t)wanted < d->threads ? wanted : (int)d->threads;
}

INLINE void attention_grad_part(const kernel_args *args, dtype type, int part, int parts)
{
    (void)parts;
    problem p = problem_of(args->node);
    const division *d = args->plan->state;
    work w;
    bool pairs = type == DTYPE_BF16 && GEMM_PAIRS;
    if (pairs) tiles_begin();
    size_t own = work_layout(&p, args->scratch, &w);
    work_layout(&p, (char *)args->scratch + (size_t)part * own, &w);
    char *slots = (char *)args->scratch + d->threads * own;
    size_t slot = item_layout(&p, d, slots, &w);
#pragma omp for schedule(dynamic)
    for (size_t item = 0; item < d->items; item++) {
        item_layout(&p, d, slots + (d->share_parts ? item : (size_t)part) * slot, &w);
        run_item(&p, d, &w, args, item, type, pairs);
    }
    if (pairs) tiles_end();
    if (!p.want_q || !d->share_parts) return;
#pragma omp for schedule(static)
    for (size_t k = 0; k < p.samples * p.heads * p.queries; k++) {
        size_t i = k % p.queries, head = k / p.queries % p.heads, sample = k / p.queries / p.heads;
        item_layout(&p, d, slots + k / p.queries * p.parts * slot, &w);
        finish_queries(&p, w.dq, p.parts, slot / sizeof(float), args->output[OUT_Q], sample, head, i, i + 1, type);
    }
}

ISA_KERNEL(attention_grad, .plan = attention_grad_plan, .release = isa_free_state)
