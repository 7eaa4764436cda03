/* attention and its gradient, in one of three ways:
 *
 * MMA: on matrix units (attention_mma.cu), where attention_mma_serves says so.
 *
 * PRODUCTS: forward with a single head too wide for that, the VAE's: q k^T, a softmax and a product with v, for as many
 * queries at once as their scores have room.
 *
 * PLAIN: f32 arithmetic (attention.cu). */
#include "backend/cuda/kernels.h"
#include "backend/cuda/product.h"
#include "base/mem.h"
#include "graph/plan.h"

/* Of scores at once: 64 MiB, all of a picture of 512x512 pixels. */
#if !defined(ATTENTION_MOST_SCORES) /* tests have fewer */
#define ATTENTION_MOST_SCORES ((int64_t)1 << 24)
#endif

typedef struct attention {
    enum { ATTENTION_MMA, ATTENTION_PRODUCTS, ATTENTION_PLAIN } kind;
    attention_shape shape;
    gpu_type type;
    int parts;                  /* of dk and dv */
    size_t parts_at;            /* in scratch, behind delta */
    gpu_product scores, sums;   /* PRODUCTS: of `scores.rows` queries */
    size_t weights_at, more_at; /* in scratch, behind the scores: softmax's result; the products' own */
} attention;

static size_t size_of(gpu_type type)
{
    return type == GPU_F32 ? 4 : 2;
}

/* What the addresses of all rows of q, k, v and o are multiples of. */
static int row_alignment(const attention *a)
{
    const size_t bytes = (size_t)a->shape.width * size_of(a->type), power = bytes & (~bytes + 1);
    return power < PLAN_ALIGNMENT ? (int)power : PLAN_ALIGNMENT;
}

static leco_status plan_products(attention *a, kernel_plan *plan, leco_error *err)
{
    const attention_shape *s = &a->shape;
    int64_t rows = s->keys < ATTENTION_MOST_SCORES ? ATTENTION_MOST_SCORES / s->keys : 1;
    if (rows > s->queries) rows = s->queries;
    while (s->queries % rows != 0) rows--; /* queries are height times width of a picture: not down to 1 */
    const gpu_product both = {.rows = rows, .type = a->type, .alignment = row_alignment(a)};
    a->scores = a->sums = both;
    a->scores.columns = a->sums.depth = s->keys;
    a->scores.depth = a->sums.columns = s->width;
    a->scores.b_transposed = true;
    a->scores.scale = s->scale;
    a->scores.out = GPU_F32;
    a->sums.scale = 1;
    a->sums.out = a->type;
    LECO_TRY(gpu_product_plan(&a->scores, err));
    LECO_TRY(gpu_product_plan(&a->sums, err));
    const size_t count = (size_t)(rows * s->keys), first = a->scores.scratch_bytes, second = a->sums.scratch_bytes;
    if (a->type == GPU_F32) /* in place */
        a->more_at = scratch_after(count * sizeof(float));
    else {
        a->weights_at = scratch_after(count * sizeof(float));
        a->more_at = scratch_after(a->weights_at + count * size_of(a->type));
    }
    plan->scratch_bytes = a->more_at + (first > second ? first : second);
    return LECO_OK;
}

/* Of attention and attention_grad. */
static leco_status plan_attention(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    const node *n = at->node;
    const bool gradient = n->op == OP_ATTENTION_GRAD;
    const shape *q = &n->input[0]->shape, *k = &n->input[1]->shape;
    attention *a = mem_calloc(1, sizeof *a);
    if (!a) return error_memory(err, sizeof *a, n->name);
    plan->state = a;
    a->type = gpu_type_of(at->compute);
    a->shape = (attention_shape){.batch = q->dim[0],
                                 .queries = shape_rows(q) / q->dim[0],
                                 .keys = shape_rows(k) / k->dim[0],
                                 .heads = n->attr.heads,
                                 .width = shape_last(q) / n->attr.heads,
                                 .scale = n->attr.scale,
                                 .causal = n->attr.causal};
    if (a->shape.width > ATTENTION_MOST_WIDTH)
        return error_set(err, LECO_UNSUPPORTED, "%s: attention heads of %lld channels: this device has kernels for %d",
                         n->name, (long long)a->shape.width, ATTENTION_MOST_WIDTH);
    if (attention_mma_serves(a->type, &a->shape, gradient))
        a->kind = ATTENTION_MMA;
    else if (!gradient && a->shape.heads == 1 && a->shape.width > ATTENTION_MMA_MOST_WIDTH && !a->shape.causal)
        a->kind = ATTENTION_PRODUCTS;
    else
        a->kind = ATTENTION_PLAIN;
    if (a->kind == ATTENTION_PRODUCTS) return plan_products(a, plan, err);
    if (!gradient) return LECO_OK;
    plan->scratch_bytes = (size_t)(shape_rows(q) * n->attr.heads) * sizeof(float); /* delta */
    a->parts = a->kind == ATTENTION_MMA ? attention_mma_parts(&a->shape) : 1;
    if (a->parts == 1) return LECO_OK;
    a->parts_at = scratch_after(plan->scratch_bytes);
    plan->scratch_bytes = a->parts_at + (size_t)(2 * a->parts * shape_count(k)) * sizeof(float);
    return LECO_OK;
}

/* The result may lie where q does: each query is done once. */
static void run_products(const attention *a, const kernel_args *args)
{
    const attention_shape *s = &a->shape;
    const int64_t rows = a->scores.rows;
    const size_t row = (size_t)s->width * size_of(a->type);
    char *scratch = args->scratch, *weights = scratch + a->weights_at, *more = scratch + a->more_at;
    for (int64_t sample = 0; sample < s->batch; sample++) {
        const size_t other = (size_t)(sample * s->keys) * row;
        for (int64_t first = 0; first < s->queries; first += rows) {
            const int64_t query = sample * s->queries + first;
            const size_t at = (size_t)query * row;
            float *lse = args->output[1];
            gpu_product_run(&a->scores, (const char *)args->input[0] + at, (const char *)args->input[1] + other, NULL,
                            NULL, scratch, more);
            launch_softmax(a->type, args->scratch, weights, lse ? lse + query : NULL, rows, s->keys);
            gpu_product_run(&a->sums, weights, (const char *)args->input[2] + other, NULL, NULL,
                            (char *)args->output[0] + at, more);
        }
    }
}

static void run_forward(const kernel_args *args)
{
    const attention *a = args->plan->state;
    if (a->kind == ATTENTION_PRODUCTS)
        run_products(a, args);
    else if (a->kind == ATTENTION_MMA)
        launch_attention_mma(a->type, &a->shape, args->input[0], args->input[1], args->input[2], args->output[0],
                             args->output[1]);
    else
        launch_attention(a->type, &a->shape, args->input[0], args->input[1], args->input[2], args->output[0],
                         args->output[1]);
}

static void run_gradient(const kernel_args *args)
{
    const attention *a = args->plan->state;
    const attention_tensors t = {.q = args->input[0],
                                 .k = args->input[1],
                                 .v = args->input[2],
                                 .o = args->input[3],
                                 .lse = args->input[4],
                                 .dout = args->input[5],
                                 .delta = args->scratch,
                                 .dq = args->output[0],
                                 .dk = args->output[1],
                                 .dv = args->output[2],
                                 .parts = (float *)((char *)args->scratch + a->parts_at),
                                 .part_count = a->parts};
    launch_attention_delta(a->type, &a->shape, &t);
    if (a->kind == ATTENTION_MMA)
        launch_attention_mma_grad(a->type, &a->shape, &t);
    else
        launch_attention_grad(a->type, &a->shape, &t);
}

static void release(kernel_plan *plan)
{
    attention *a = plan->state;
    if (a) {
        gpu_product_release(&a->scores);
        gpu_product_release(&a->sums);
    }
    mem_free(a);
    plan->state = NULL;
}

static const char *chosen(const kernel_plan *plan)
{
    static const char *const names[] = {"matrix units", "two products", "f32 arithmetic"};
    return names[((const attention *)plan->state)->kind];
}

const kernel cuda_attention = {.plan = plan_attention, .run = run_forward, .release = release, .chosen = chosen};
const kernel cuda_attention_grad = {.plan = plan_attention, .run = run_gradient, .release = release, .chosen = chosen};
