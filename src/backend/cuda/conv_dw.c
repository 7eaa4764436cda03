/* The weight gradient of conv2d: windows of x are gathered into rows, a block of them at a time, for products with dy
 * that add up, in f32; what comes out, [out,taps,in], is put in the weight's own order at the end. */
#include "backend/cuda/kernels.h"
#include "backend/cuda/product.h"
#include "base/mem.h"
#include "graph/plan.h"

enum { GATHER_BYTES = 64 << 20 };

typedef struct conv_dw {
    conv_shape shape;
    gpu_type type;
    gpu_product first, later, tail; /* of the first block, of those that add to it, and of the last, shorter one */
    bool has_tail;
    int64_t block;          /* positions */
    size_t sum_at, rows_at; /* in scratch */
} conv_dw;

static conv_shape shape_of_dw(const node *n)
{
    const shape *dy = &n->input[0]->shape, *x = &n->input[1]->shape, *w = &n->attr.target;
    const int *pad = n->attr.pad;
    return (conv_shape){.n = x->dim[0],
                        .h = x->dim[1],
                        .w = x->dim[2],
                        .in = x->dim[3],
                        .ho = dy->dim[1],
                        .wo = dy->dim[2],
                        .out = dy->dim[3],
                        .kh = w->dim[2],
                        .kw = w->dim[3],
                        .stride = n->attr.stride,
                        .top = pad[0],
                        .left = pad[1],
                        .bottom = pad[2],
                        .right = pad[3]};
}

/* sum [out,taps in] = dy [depth,out]^T rows [depth,taps in], added to what is there or not. */
static leco_status plan_product(const conv_dw *c, int64_t depth, bool adds, gpu_product *out, size_t *scratch,
                                leco_error *err)
{
    const conv_shape *s = &c->shape;
    *out = (gpu_product){.rows = s->out,
                         .columns = s->kh * s->kw * s->in,
                         .depth = depth,
                         .a_transposed = true,
                         .has_add = adds,
                         .scale = 1.0f,
                         .type = c->type,
                         .out = GPU_F32,
                         .alignment = c->type == GPU_F32 ? 4 : 2};
    LECO_TRY(gpu_product_plan(out, err));
    if (out->scratch_bytes > *scratch) *scratch = out->scratch_bytes;
    return LECO_OK;
}

static leco_status plan_all(conv_dw *c, kernel_plan *plan, leco_error *err)
{
    const conv_shape *s = &c->shape;
    const int64_t width = s->kh * s->kw * s->in, positions = s->n * s->ho * s->wo;
    const int64_t element = c->type == GPU_F32 ? 4 : 2;
    size_t scratch = 0;
    c->block = GATHER_BYTES / width / element + 1;
    c->block = (c->block + PLAN_ALIGNMENT - 1) / PLAN_ALIGNMENT * PLAN_ALIGNMENT;
    if (c->block > positions) c->block = positions;
    c->has_tail = positions % c->block > 0;
    LECO_TRY(plan_product(c, c->block, false, &c->first, &scratch, err));
    if (positions >= 2 * c->block) LECO_TRY(plan_product(c, c->block, true, &c->later, &scratch, err));
    if (c->has_tail) LECO_TRY(plan_product(c, positions % c->block, true, &c->tail, &scratch, err));
    c->sum_at = scratch_after(scratch);
    c->rows_at = scratch_after(c->sum_at + (size_t)(s->out * width) * sizeof(float));
    plan->scratch_bytes = c->rows_at + (size_t)(c->block * width * element);
    return LECO_OK;
}

static leco_status conv_dw_plan(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    conv_dw *c = mem_calloc(1, sizeof *c);
    if (!c) return error_memory(err, sizeof *c, at->node->name);
    plan->state = c;
    c->type = gpu_type_of(at->compute);
    c->shape = shape_of_dw(at->node);
    leco_status status = plan_all(c, plan, err);
    return status == LECO_OK ? LECO_OK : error_prefix(err, status, "%s", at->node->name);
}

static void conv_dw_run(const kernel_args *args)
{
    const conv_dw *c = args->plan->state;
    const conv_shape *s = &c->shape;
    const int64_t positions = s->n * s->ho * s->wo, row = s->out * (c->type == GPU_F32 ? 4 : 2);
    float *sum = (float *)((char *)args->scratch + c->sum_at);
    void *rows = (char *)args->scratch + c->rows_at;
    for (int64_t at = 0; at < positions; at += c->block) {
        const bool whole = at + c->block <= positions;
        const gpu_product *p = at == 0 ? &c->first : whole ? &c->later : &c->tail;
        launch_gather(c->type, s, args->input[1], rows, at, whole ? c->block : positions - at);
        gpu_product_run(p, (const char *)args->input[0] + at * row, rows, NULL, at == 0 ? NULL : sum, sum,
                        args->scratch);
    }
    launch_taps_last(sum, args->input[2], args->output[0], s->out, s->in, s->kh * s->kw);
}

static void conv_dw_release(kernel_plan *plan)
{
    conv_dw *c = plan->state;
    if (!c) return;
    gpu_product_release(&c->first);
    gpu_product_release(&c->later);
    gpu_product_release(&c->tail);
    mem_free(c);
    plan->state = NULL;
}

const kernel cuda_conv2d_dw = {.plan = conv_dw_plan, .run = conv_dw_run, .release = conv_dw_release};
