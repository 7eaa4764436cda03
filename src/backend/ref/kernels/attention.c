/* attention and its gradient. Scratch is one row of scores and one of a head, in double.
 * A row of q is read whole before the same row of o is written, so o may take over q. */
#include <math.h>

#include "backend/ref/kernels/kernel.h"

typedef struct attention_shape {
    int64_t batch, queries, keys, heads, width, channels; /* channels = heads * width */
    double scale;
    bool causal;
} attention_shape;

static attention_shape attention_of(const node *n)
{
    const shape *q = &n->input[0]->shape, *k = &n->input[1]->shape;
    attention_shape s = {.batch = q->dim[0], .heads = n->attr.heads, .channels = shape_last(q)};
    s.queries = shape_rows(q) / s.batch;
    s.keys = shape_rows(k) / s.batch;
    s.width = s.channels / s.heads;
    s.scale = (double)n->attr.scale;
    s.causal = n->attr.causal;
    return s;
}

static leco_status plan_attention(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    (void)err;
    attention_shape s = attention_of(at->node);
    plan->scratch_bytes = (size_t)(s.keys + s.width) * sizeof(double);
    return LECO_OK;
}

static double dot(const real *a, const real *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

/* Output row of one query of one head: q and o point at the head's channels of that row, k and v at those of the
 * sample's first key. Returns the log-sum-exp. */
static double attend(const attention_shape *s, int64_t query, const real *q, const real *k, const real *v, real *o,
                     double *score, double *sum)
{
    int64_t seen = s->causal ? query + 1 : s->keys;
    double largest = -INFINITY, total = 0;
    for (int64_t j = 0; j < seen; j++) {
        score[j] = s->scale * dot(q, k + j * s->channels, s->width);
        if (score[j] > largest) largest = score[j];
    }
    for (int64_t j = 0; j < seen; j++) total += exp(score[j] - largest);
    double lse = largest + log(total);
    for (int64_t d = 0; d < s->width; d++) sum[d] = 0;
    for (int64_t j = 0; j < seen; j++) {
        double p = exp(score[j] - lse);
        for (int64_t d = 0; d < s->width; d++) sum[d] += p * (double)v[j * s->channels + d];
    }
    for (int64_t d = 0; d < s->width; d++) o[d] = (real)sum[d];
    return lse;
}

static void run_attention(const kernel_args *a)
{
    const real *q = a->input[0], *k = a->input[1], *v = a->input[2];
    real *o = a->output[0], *lse = a->output[1];
    attention_shape s = attention_of(a->node);
    double *score = a->scratch, *sum = score + s.keys;
    for (int64_t n = 0; n < s.batch; n++) {
        for (int64_t h = 0; h < s.heads; h++) {
            const int64_t key = n * s.keys * s.channels + h * s.width;
            for (int64_t t = 0; t < s.queries; t++) {
                int64_t row = (n * s.queries + t) * s.channels + h * s.width;
                double result = attend(&s, t, q + row, k + key, v + key, o + row, score, sum);
                if (lse != NULL) lse[(n * s.heads + h) * s.queries + t] = (real)result;
            }
        }
    }
}

/* Operands of the gradient, all pointing at one head of one sample; and the gradients, NULL where not wanted. */
typedef struct attention_head {
    const real *q, *k, *v, *o, *lse, *dout;
    real *dq, *dk, *dv;
} attention_head;

/* P and dS of one query and one key. */
static double probability(const attention_shape *s, const attention_head *h, int64_t query, int64_t key)
{
    if (s->causal && key > query) return 0;
    return exp(s->scale * dot(h->q + query * s->channels, h->k + key * s->channels, s->width) - (double)h->lse[query]);
}

static double score_gradient(const attention_shape *s, const attention_head *h, int64_t query, int64_t key)
{
    const real *dout = h->dout + query * s->channels;
    double delta = dot(dout, h->o + query * s->channels, s->width);
    double dp = dot(dout, h->v + key * s->channels, s->width);
    return probability(s, h, query, key) * (dp - delta);
}

/* dst[d] = scale * sum over i < count of (probability or score gradient, query and key being i and `fixed` or the other
 * way round) * rows[i,d]. */
typedef double (*pair_weight)(const attention_shape *s, const attention_head *h, int64_t query, int64_t key);

static void sum_rows(const attention_shape *s, const attention_head *h, pair_weight weight_of, bool over_keys,
                     int64_t fixed, const real *rows, double scale, real *dst, double *sum)
{
    int64_t count = over_keys ? s->keys : s->queries;
    for (int64_t d = 0; d < s->width; d++) sum[d] = 0;
    for (int64_t i = 0; i < count; i++) {
        double p = over_keys ? weight_of(s, h, fixed, i) : weight_of(s, h, i, fixed);
        for (int64_t d = 0; d < s->width; d++) sum[d] += p * (double)rows[i * s->channels + d];
    }
    for (int64_t d = 0; d < s->width; d++) dst[fixed * s->channels + d] = (real)(scale * sum[d]);
}

static void attention_head_gradient(const attention_shape *s, const attention_head *h, double *sum)
{
    for (int64_t t = 0; h->dq != NULL && t < s->queries; t++) {
        sum_rows(s, h, score_gradient, true, t, h->k, s->scale, h->dq, sum);
    }
    for (int64_t t = 0; t < s->keys; t++) {
        if (h->dk != NULL) sum_rows(s, h, score_gradient, false, t, h->q, s->scale, h->dk, sum);
        if (h->dv != NULL) sum_rows(s, h, probability, false, t, h->dout, 1, h->dv, sum);
    }
}

static void run_attention_grad(const kernel_args *a)
{
    const real *q = a->input[0], *k = a->input[1], *v = a->input[2], *o = a->input[3], *lse = a->input[4];
    const real *dout = a->input[5];
    real *dq = a->output[0], *dk = a->output[1], *dv = a->output[2];
    attention_shape s = attention_of(a->node);
    for (int64_t n = 0; n < s.batch; n++) {
        for (int64_t i = 0; i < s.heads; i++) {
            int64_t row = n * s.queries * s.channels + i * s.width, key = n * s.keys * s.channels + i * s.width;
            attention_head h = {.q = q + row, .k = k + key, .v = v + key, .o = o + row, .dout = dout + row};
            h.lse = lse + (n * s.heads + i) * s.queries;
            h.dq = dq == NULL ? NULL : dq + row;
            h.dk = dk == NULL ? NULL : dk + key;
            h.dv = dv == NULL ? NULL : dv + key;
            attention_head_gradient(&s, &h, a->scratch);
        }
    }
}

const kernel REF(attention) = {.plan = plan_attention, .run = run_attention};
const kernel REF(attention_grad) = {.plan = plan_attention, .run = run_attention_grad};
