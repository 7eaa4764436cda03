/* o = softmax(scale q k^T) v by head, without ever holding the scores of more than a block of keys.
 *
 * Queries lie across vector lanes, PANEL at a time; keys run down the rows. Then the running maximum, the sum and the
 * rescaling of softmax are plain vertical operations, K and V serve as the broadcast operand of gemm.h, and a head's
 * width needs no padding to whole vectors. For each block of KEYS keys and each panel:
 *     S [keys][PANEL] = K [keys][D] Q^T [D][PANEL]
 *     m, P = max, exp2(c S - m), c = scale log2 e;   l = l correction + sum of P
 *     O [D][PANEL] = O correction + V^T [D][keys] P [keys][PANEL]
 * Source: Dao et al., "FlashAttention" (2022), with the loops in the order that suits a cache. */
#include <math.h>

#include "backend/cpu/isa/isa.h"
#include "backend/cpu/isa/loop.h"
#include "backend/cpu/isa/pack.h"

#define PANEL_VECS (VEC == 16 ? 2 : 3) /* with tiles, two of them */
#define PANEL (PANEL_VECS * VEC)
#define KEYS 96
#define PANELS_MOST 8
#define SLACK 8.0f    /* a maximum may be exceeded by so many powers of two before everything is rescaled */
#define LOWEST -1e30f /* a maximum to start from: finite, so that differences of two are not NaN */

typedef struct problem {
    size_t samples, heads, queries, keys, width, channels;
    size_t panels; /* of a task */
    size_t blocks; /* tasks of one head */
    float scale;   /* with log2 e in it */
    bool causal, pairs;
    dtype type;
    const void *q, *k, *v;
    void *o;
    float *lse;
} problem;

/* Where a thread keeps its blocks. `units`, `depth`: head width in units; `height`: head width in padded rows. */
typedef struct work {
    size_t units, height;
    unit *q, *q_rows; /* [panels][units][PANEL], [PANEL][units] */
    unit *k, *v;      /* [KEYS][units], [KEYS][height] in units; v of tiles is [height][KEYS] */
    unit *woven;      /* [KEYS][height] in units, of tiles */
    float *s;         /* [KEYS][PANEL] */
    unit *p;          /* [KEYS][PANEL]; the same memory as s where units are floats */
    float *o, *m, *l; /* [panels][height][PANEL], [panels][PANEL] both */
    float *most;      /* [PANEL]: the largest score of a block */
} work;

static problem problem_of(const node *n)
{
    const tensor *q = n->input[0], *k = n->input[1];
    problem p = {.samples = size_dim(q, 0), .heads = (size_t)n->attr.heads, .channels = size_last(q)};
    p.queries = size_rows(q) / p.samples;
    p.keys = size_rows(k) / p.samples;
    p.width = p.channels / p.heads;
    p.scale = n->attr.scale * 1.44269504088896341f;
    p.causal = n->attr.causal;
    p.pairs = n->output[0]->type == DTYPE_BF16 && GEMM_PAIRS;
    size_t all = (p.queries + PANEL - 1) / PANEL;
    p.panels = all < PANELS_MOST ? all : PANELS_MOST; /* long tasks pack keys less often, short ones share better */
    while (p.panels > 2 && p.samples * p.heads * (all / p.panels) < 64) p.panels = (p.panels + 1) / 2;
    p.blocks = (all + p.panels - 1) / p.panels;
    return p;
}

/* Lays a thread's blocks out from `base` on; returns how many bytes they take. */
static size_t work_layout(const problem *p, char *base, work *w)
{
    size_t at = 0;
    w->units = depth_of(p->width, p->pairs);
    w->height = round_up(p->width, GEMM_TILED_ROWS_MOST(p->pairs));
#define TAKE(field, count)                                                                                             \
    w->field = (void *)(base + at);                                                                                    \
    at += round_up((count) * sizeof *w->field, 64)
    TAKE(q, p->panels * w->units * PANEL);
    TAKE(q_rows, PANEL * w->units + VEC);
    TAKE(k, KEYS * w->units);
    TAKE(v, KEYS * w->height);
    TAKE(woven, GEMM_TILES && p->pairs ? KEYS / 2 * w->height : 0);
    TAKE(s, KEYS * PANEL);
    TAKE(p, p->pairs ? KEYS / 2 * PANEL : 0);
    TAKE(o, (p->panels * w->height + VEC) * PANEL);
    TAKE(m, p->panels * PANEL);
    TAKE(l, p->panels * PANEL);
    TAKE(most, PANEL);
#undef TAKE
    if (!p->pairs) w->p = (unit *)w->s;
    return at;
}

static leco_status attention_plan(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    (void)err;
    problem p = problem_of(at->node);
    static char nowhere[1]; /* layout only counts */
    work w;
    plan->scratch_bytes = work_layout(&p, nowhere, &w) * (size_t)cpu_threads();
    return LECO_OK;
}

/* Puts the scores of keys [first, first + count) that lie behind a query out of reach, and finds the maxima anew. */
INLINE void mask_future(const work *w, size_t first, size_t count, size_t query)
{
#pragma GCC unroll 3
    for (size_t v = 0; v < PANEL_VECS; v++) {
        vec most = vec_set(LOWEST);
        veci last = vec_count_from((int)(query + v * VEC));
        for (size_t k = 0; k < count; k++) {
            size_t at = k * PANEL + v * VEC;
            vec s = vec_select(last < (int)(first + k), vec_set(LOWEST), vec_load(w->s, DTYPE_F32, at));
            vec_store(w->s, DTYPE_F32, at, s);
            most = vec_max(s, most);
        }
        vec_store(w->most, DTYPE_F32, v * VEC, most);
    }
}

/* Raises a panel's maxima where the block's exceed them by more than SLACK (results don't depend on which maximum is
 * subtracted, as long as nothing overflows), with what belongs to them. */
INLINE void raise_maximum(const work *w, size_t panel, float scale)
{
    vec correction[PANEL_VECS];
    bool moved = false;
#pragma GCC unroll 3
    for (size_t v = 0; v < PANEL_VECS; v++) {
        size_t at = panel * PANEL + v * VEC;
        vec old = vec_load(w->m, DTYPE_F32, at), most = scale * vec_load(w->most, DTYPE_F32, v * VEC);
        veci exceeds = most > old + SLACK;
        moved = moved || vec_any(exceeds);
        most = vec_select(exceeds, most, old);
        correction[v] = vec_exp2(old - most, 0);
        vec_store(w->m, DTYPE_F32, at, most);
        vec_store(w->l, DTYPE_F32, at, vec_load(w->l, DTYPE_F32, at) * correction[v]);
    }
    if (!moved) return;
    float *o = w->o + panel * w->height * PANEL;
    for (size_t d = 0; d < w->height; d++)
#pragma GCC unroll 3
        for (size_t v = 0; v < PANEL_VECS; v++) {
            size_t at = d * PANEL + v * VEC;
            vec_store(o, DTYPE_F32, at, vec_load(o, DTYPE_F32, at) * correction[v]);
        }
}

/* The block's probabilities into w->p, their sums added to w->l. */
INLINE void softmax_block(const work *w, size_t panel, size_t count, float scale, bool pairs)
{
    const float *s = w->s;
#pragma GCC unroll 3
    for (size_t v = 0; v < PANEL_VECS; v++) {
        size_t at = panel * PANEL + v * VEC, k = 0;
        vec m = vec_load(w->m, DTYPE_F32, at), sum = vec_zero();
        for (; k + 2 <= count; k += 2) {
            vec a = vec_exp2(scale * vec_load(s, DTYPE_F32, k * PANEL + v * VEC) - m, pairs);
            vec b = vec_exp2(scale * vec_load(s, DTYPE_F32, (k + 1) * PANEL + v * VEC) - m, pairs);
            sum += a + b;
            if (pairs) {
                vecu two = pack_two_floats(a, b);
                memcpy(w->p + k / 2 * PANEL + v * VEC, &two, sizeof two);
            } else {
                vec_store(w->p, DTYPE_F32, k * PANEL + v * VEC, a);
                vec_store(w->p, DTYPE_F32, (k + 1) * PANEL + v * VEC, b);
            }
        }
        if (k < count) {
            vec a = vec_exp2(scale * vec_load(s, DTYPE_F32, k * PANEL + v * VEC) - m, pairs);
            sum += a;
            vecu two = pairs ? pack_two_floats(a, vec_zero()) : (vecu)a;
            memcpy(w->p + k / unit_width(pairs) * PANEL + v * VEC, &two, sizeof two);
        }
        vec_store(w->l, DTYPE_F32, at, vec_load(w->l, DTYPE_F32, at) + sum);
    }
}

/* One block of keys against one panel of queries, the first of which is `query`. */
INLINE void attend(const problem *p, const work *w, size_t panel, size_t query, size_t key, size_t count, float scale,
                   bool pairs)
{
    float *o = w->o + panel * w->height * PANEL;
    gemm scores = {.rows = round_up(count, GEMM_TILED_ROWS(pairs)),
                   .columns = PANEL,
                   .depth = w->units,
                   .a = w->k,
                   .a_row = w->units};
    scores.a_step = 1;
    scores.b = w->q + panel * w->units * PANEL;
    scores.b_step = scores.c_row = PANEL;
    scores.c = w->s;
    scores.most = w->most;
    scores.tiled = GEMM_TILES && pairs;
    for (size_t i = 0; i < PANEL; i++) w->most[i] = LOWEST;
    gemm_run(&scores, pairs);
    if (p->causal && key + count > query + 1) mask_future(w, key, count, query);
    raise_maximum(w, panel, scale);
    softmax_block(w, panel, count, scale, pairs);
    pack_zeros(w->p, units_of(count, pairs), depth_of(count, pairs), PANEL);
    gemm values = {.rows = round_up(p->width, GEMM_TILED_ROWS(pairs)), .columns = PANEL, .a = w->v, .b = w->p, .c = o};
    values.depth = depth_of(count, pairs);
    values.tiled = GEMM_TILES && pairs;
    values.a_row = values.tiled ? values.depth : 1;
    values.a_step = values.tiled ? 1 : w->height;
    values.b_step = values.c_row = PANEL;
    values.accumulate = true;
    gemm_run(&values, pairs);
}

INLINE rows head_rows(const problem *p, const void *base, dtype type, size_t row, size_t head, size_t count)
{
    rows m = {.type = type, .stride = p->channels, .count = count, .width = p->width};
    size_t size = type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
    m.base = (const char *)base + (row * p->channels + head * p->width) * size;
    return m;
}

/* Divides by the sums and turns a panel back into rows. */
INLINE void finish_panel(const problem *p, const work *w, size_t panel, size_t query, size_t sample, size_t head,
                         dtype type)
{
    size_t count = p->queries - query < PANEL ? p->queries - query : PANEL;
    const float *o = w->o + panel * w->height * PANEL, *m = w->m + panel * PANEL;
    float *l = w->l + panel * PANEL;
    if (p->lse) {
        float *lse = p->lse + (sample * p->heads + head) * p->queries + query;
        for (size_t i = 0; i < count; i++) lse[i] = (m[i] + log2f(l[i])) * 0.693147180559945309f;
    }
    for (size_t i = 0; i < PANEL; i++) l[i] = 1.0f / l[i];
    size_t at = (sample * p->queries + query) * p->channels + head * p->width;
    rows to = {.type = type, .stride = p->channels, .count = count, .width = p->width};
    unpack_columns(to, (char *)p->o + at * (type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float)), o, PANEL, l);
}

/* All of one task: `panels` panels of queries from `first` on, of one head of one sample. The queries are read before
 * the results are written, so the output may share their memory. */
INLINE void run_task(const problem *p, const work *w, size_t sample, size_t head, size_t first, dtype type, bool pairs)
{
    size_t padded = 0, last = first + p->panels * PANEL < p->queries ? first + p->panels * PANEL : p->queries,
           panel = 0;
    for (size_t query = first; query < last; query += PANEL, panel++) {
        size_t count = last - query < PANEL ? last - query : PANEL;
        pack_rows(w->q_rows, head_rows(p, p->q, type, sample * p->queries + query, head, count), PANEL, w->units,
                  pairs);
        if (p->scale < 0) /* the largest score is wanted, so a negative scale moves into q */
            for (size_t i = 0; i < PANEL * w->units; i++) w->q_rows[i] ^= pairs ? 0x80008000u : 0x80000000u;
        pack_transpose(w->q + panel * w->units * PANEL, w->q_rows, PANEL, w->units);
    }
    memset(w->o, 0, panel * w->height * PANEL * sizeof(float));
    memset(w->l, 0, panel * PANEL * sizeof(float));
    for (size_t i = 0; i < panel * PANEL; i++) w->m[i] = LOWEST;
    size_t reach = p->causal && last < p->keys ? last : p->keys;
    for (size_t key = 0; key < reach; key += KEYS) {
        size_t count = p->keys - key < KEYS ? p->keys - key : KEYS;
        /* Rows that fill up the last tile repeat a key: they must not raise a maximum. */
        padded = round_up(count, GEMM_TILED_ROWS(pairs));
        pack_rows(w->k, head_rows(p, p->k, type, sample * p->keys + key, head, count), padded, w->units, pairs);
        for (size_t i = count; i < padded; i++)
            memcpy(w->k + i * w->units, w->k + (count - 1) * w->units, w->units * sizeof(unit));
        rows v = head_rows(p, p->v, type, sample * p->keys + key, head, count);
        if (GEMM_TILES && pairs)
            pack_columns(w->v, w->woven, v, w->height, depth_of(count, pairs));
        else
            pack_woven(w->v, v, w->height, pairs);
        for (size_t i = 0; i < panel; i++) {
            size_t query = first + i * PANEL;
            if (!p->causal || key < query + PANEL) attend(p, w, i, query, key, count, fabsf(p->scale), pairs);
        }
    }
    for (size_t i = 0; i < panel; i++) finish_panel(p, w, i, first + i * PANEL, sample, head, type);
}

static int attention_threads(const kernel_args *args)
{
    problem p = problem_of(args->node);
    work w;
    size_t room = args->plan->scratch_bytes / work_layout(&p, args->scratch, &w); /* threads there is memory for */
    int wanted = parallel_threads(p.samples * p.heads * p.queries * p.keys * 2);
    return (size_t)wanted < room ? wanted : (int)room;
}

INLINE void attention_part(const kernel_args *args, dtype type, int part, int parts)
{
    (void)parts;
    problem p = problem_of(args->node);
    p.q = args->input[0];
    p.k = args->input[1];
    p.v = args->input[2];
    p.o = args->output[0];
    p.lse = args->output[1];
    work w;
    size_t bytes = work_layout(&p, args->scratch, &w);
    work_layout(&p, (char *)args->scratch + (size_t)part * bytes, &w);
    size_t tasks = p.samples * p.heads * p.blocks;
    bool pairs = type == DTYPE_BF16 && GEMM_PAIRS;
    if (pairs) tiles_begin();
#pragma omp for schedule(dynamic)
    for (size_t t = 0; t < tasks; t++) {
        size_t block = t % p.blocks, head = t / p.blocks % p.heads, sample = t / p.blocks / p.heads;
        run_task(&p, &w, sample, head, block * p.panels * PANEL, type, pairs);
    }
    if (pairs) tiles_end();
}

ISA_KERNEL(attention, .plan = attention_plan)
