/* conv2d and its data gradient are computed in one of three ways:
 *
 * PRODUCT: 1x1 with stride 1 is a linear over [N H W, C].
 *
 * LIBRARY: cuDNN's convolution.
 *
 * GATHER: windows are gathered into rows for a product, a block of them at a time; for the gradient a product gives the
 * rows, in f32, and they are added up. Where cuDNN is missing or has nothing. */
#include "backend/cuda/convolution.h"
#include "backend/cuda/kernels.h"
#include "backend/cuda/product.h"
#include "base/mem.h"
#include "graph/plan.h"

enum { GATHER_BYTES = 128 << 20 };

typedef struct conv {
    enum { CONV_PRODUCT, CONV_LIBRARY, CONV_GATHER } kind;
    bool gradient;
    conv_shape shape;
    gpu_type type;
    gpu_product product, tail; /* tail: of the last block, where it is shorter */
    gpu_convolution library;
    int64_t block;    /* GATHER: positions in a block, forward; all of a sample's, backward */
    size_t rows_at;   /* in scratch: of gathered rows */
    bool packs;       /* a weight that is a param, at each run */
    size_t packed_at; /* in scratch: where to */
    int bias, add;    /* indices among the inputs, -1: none */
} conv;

/* The weight with channels last is found again by this. */
typedef struct pack_key {
    char name[24];
    int32_t type;
} pack_key;

static conv_shape shape_of_conv(const node *n, const tensor *x, const tensor *y)
{
    const shape *w = &n->input[1]->shape;
    const int *pad = n->attr.pad;
    return (conv_shape){.n = x->shape.dim[0],
                        .h = x->shape.dim[1],
                        .w = x->shape.dim[2],
                        .in = x->shape.dim[3],
                        .ho = y->shape.dim[1],
                        .wo = y->shape.dim[2],
                        .out = y->shape.dim[3],
                        .kh = w->dim[2],
                        .kw = w->dim[3],
                        .stride = n->attr.stride,
                        .top = pad[0],
                        .left = pad[1],
                        .bottom = pad[2],
                        .right = pad[3]};
}

static bool is_product(const conv_shape *s)
{
    return s->kh == 1 && s->kw == 1 && s->stride == 1 && !s->top && !s->left && !s->bottom && !s->right;
}

/* ---- planning ---- */

/* y [rows,out] = x w^T, or with gradient dx [rows,in] = dy w; w [out,depth]. */
static gpu_product product_of(const conv *c, int64_t rows, int64_t depth)
{
    gpu_product p = {.rows = rows, .scale = 1.0f, .type = c->type, .out = c->type};
    p.columns = c->gradient ? depth : c->shape.out;
    p.depth = c->gradient ? c->shape.out : depth;
    p.b_transposed = !c->gradient;
    p.has_bias = c->bias >= 0;
    p.has_add = c->add >= 0;
    return p;
}

static leco_status plan_product(conv *c, kernel_plan *plan, leco_error *err)
{
    c->kind = CONV_PRODUCT;
    c->product = product_of(c, c->shape.n * c->shape.h * c->shape.w, c->shape.in);
    LECO_TRY(gpu_product_plan(&c->product, err));
    plan->scratch_bytes = c->product.scratch_bytes;
    return LECO_OK;
}

static leco_status plan_gather(conv *c, kernel_plan *plan, leco_error *err)
{
    const conv_shape *s = &c->shape;
    const int64_t depth = s->kh * s->kw * s->in, each = s->ho * s->wo, positions = c->gradient ? each : s->n * each;
    const size_t element = c->gradient || c->type == GPU_F32 ? sizeof(float) : sizeof(uint16_t);
    c->kind = CONV_GATHER;
    c->block = positions;
    if (!c->gradient && c->block > GATHER_BYTES / depth / (int64_t)element)
        c->block = GATHER_BYTES / depth / (int64_t)element + 1;
    if (c->block < positions) c->block = (c->block + PLAN_ALIGNMENT - 1) / PLAN_ALIGNMENT * PLAN_ALIGNMENT;
    c->product = product_of(c, c->block, depth);
    if (c->gradient) {
        c->product.alignment = c->type == GPU_F32 ? 4 : 2; /* of a sample that isn't the first */
        c->product.out = GPU_F32;
        c->product.has_add = false;
    }
    LECO_TRY(gpu_product_plan(&c->product, err));
    size_t scratch = c->product.scratch_bytes;
    if (positions % c->block > 0) {
        c->tail = product_of(c, positions % c->block, depth);
        LECO_TRY(gpu_product_plan(&c->tail, err));
        if (c->tail.scratch_bytes > scratch) scratch = c->tail.scratch_bytes;
    }
    c->rows_at = scratch_after(scratch);
    plan->scratch_bytes = c->rows_at + (size_t)(c->block * depth) * element;
    return LECO_OK;
}

/* cuDNN, or the want of it. */
static leco_status plan_windows(conv *c, kernel_plan *plan, leco_error *err)
{
    leco_error why;
    c->library = (gpu_convolution){.shape = c->shape, .type = c->type, .gradient = c->gradient};
    const leco_status status = gpu_convolution_plan(&c->library, &why);
    if (status == LECO_OK) {
        c->kind = CONV_LIBRARY;
        plan->scratch_bytes = c->library.scratch_bytes;
        return LECO_OK;
    }
    gpu_convolution_release(&c->library);
    if (status != LECO_UNSUPPORTED) return error_set(err, status, "%s", why.message);
    return plan_gather(c, plan, err);
}

static leco_status plan_weight(conv *c, const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    const tensor *w = at->node->input[1];
    const bool plain = c->kind == CONV_PRODUCT && w->type == at->compute;
    const size_t bytes = (size_t)shape_count(&w->shape) * dtype_size(at->compute);
    if (w->kind == TENSOR_WEIGHT) {
        if (c->kind == CONV_PRODUCT) return LECO_OK; /* one tap: it is plain already */
        const pack_key key = {"channels last", (int32_t)at->compute};
        return weight_want(w->weight, at->memory, &key, sizeof key, bytes, &plan->form[1], err);
    }
    if (plain) return LECO_OK;
    c->packs = true;
    c->packed_at = scratch_after(plan->scratch_bytes);
    plan->scratch_bytes = c->packed_at + bytes;
    return LECO_OK;
}

static leco_status plan_all(conv *c, const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    LECO_TRY(is_product(&c->shape) ? plan_product(c, plan, err) : plan_windows(c, plan, err));
    return plan_weight(c, at, plan, err);
}

/* Of conv2d and conv2d_dx. */
static leco_status plan_conv(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    const node *n = at->node;
    conv *c = mem_calloc(1, sizeof *c);
    if (!c) return error_memory(err, sizeof *c, n->name);
    plan->state = c;
    c->gradient = n->op == OP_CONV2D_DX;
    c->type = gpu_type_of(at->compute);
    c->shape = c->gradient ? shape_of_conv(n, n->output[0], n->input[0]) : shape_of_conv(n, n->input[0], n->output[0]);
    const int add = c->gradient ? 2 : 3;
    c->bias = !c->gradient && n->input[2] ? 2 : -1;
    c->add = n->input[add] ? add : -1;
    leco_status status = plan_all(c, at, plan, err);
    return status == LECO_OK ? LECO_OK : error_prefix(err, status, "%s", n->name);
}

/* ---- preparing ---- */

static leco_status pack(const conv *c, dtype compute, const weight *w, weight_form *f, leco_error *err)
{
    const conv_shape *s = &c->shape;
    if (f->data) return LECO_OK;
    void *plain = gpu_memory.alloc(f->bytes);
    if (!plain) return memory_error(&gpu_memory, f->bytes, w->name, err);
    leco_status status = weight_take(w, f, err);
    if (status == LECO_OK) {
        status = gpu_memory.upload_as(plain, compute, w->data, w->type, (size_t)shape_count(&w->shape), err);
        if (status == LECO_OK) {
            launch_channels_last(c->type, c->type, plain, f->data, s->out, s->in, s->kh * s->kw);
            status = gpu_memory.synchronise(err);
        }
        if (status != LECO_OK) weight_give_back(f);
    }
    gpu_memory.free(plain);
    return status;
}

static leco_status prepare(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    const tensor *w = at->node->input[1];
    if (w->kind != TENSOR_WEIGHT || plan->form[1]->plain) return LECO_OK;
    leco_status status = pack(plan->state, at->compute, w->weight, plan->form[1], err);
    return status == LECO_OK ? LECO_OK : error_prefix(err, status, "%s", at->node->name);
}

static void release(kernel_plan *plan)
{
    conv *c = plan->state;
    if (!c) return;
    gpu_product_release(&c->product);
    gpu_product_release(&c->tail);
    gpu_convolution_release(&c->library);
    mem_free(c);
    plan->state = NULL;
}

/* ---- running ---- */

static const void *bias_of(const conv *c, const kernel_args *args)
{
    return c->bias >= 0 ? args->input[c->bias] : NULL;
}

static const void *add_of(const conv *c, const kernel_args *args)
{
    return c->add >= 0 ? args->input[c->add] : NULL;
}

static void run_gather(const conv *c, const kernel_args *args, const void *w)
{
    const conv_shape *s = &c->shape;
    const void *bias = bias_of(c, args);
    const char *add = add_of(c, args);
    char *y = args->output[0];
    void *rows = (char *)args->scratch + c->rows_at;
    const int64_t positions = s->n * s->ho * s->wo, row = s->out * (c->type == GPU_F32 ? 4 : 2);
    for (int64_t first = 0; first < positions; first += c->block) {
        const bool whole = first + c->block <= positions;
        launch_gather(c->type, s, args->input[0], rows, first, whole ? c->block : positions - first);
        gpu_product_run(whole ? &c->product : &c->tail, rows, w, bias, add ? add + first * row : NULL, y + first * row,
                        args->scratch);
    }
}

static void run_scatter(const conv *c, const kernel_args *args, const void *w)
{
    const conv_shape *s = &c->shape;
    float *rows = (float *)((char *)args->scratch + c->rows_at);
    const int64_t each = s->ho * s->wo * s->out * (c->type == GPU_F32 ? 4 : 2);
    for (int64_t n = 0; n < s->n; n++) {
        gpu_product_run(&c->product, (const char *)args->input[0] + n * each, w, NULL, NULL, rows, args->scratch);
        launch_scatter(c->type, s, rows, add_of(c, args), args->output[0], n, 1);
    }
}

static void run(const kernel_args *args)
{
    const conv *c = args->plan->state;
    const conv_shape *s = &c->shape;
    const tensor *w = args->node->input[1];
    const void *weights = args->input[1];
    if (c->packs) {
        void *packed = (char *)args->scratch + c->packed_at;
        launch_channels_last(type_of(w), c->type, weights, packed, s->out, s->in, s->kh * s->kw);
        weights = packed;
    }
    switch (c->kind) {
    case CONV_PRODUCT:
        gpu_product_run(&c->product, args->input[0], weights, bias_of(c, args), add_of(c, args), args->output[0],
                        args->scratch);
        break;
    case CONV_LIBRARY:
        gpu_convolution_run(&c->library, args->input[0], weights, bias_of(c, args), add_of(c, args), args->output[0],
                            args->scratch);
        break;
    case CONV_GATHER:
        c->gradient ? run_scatter(c, args, weights) : run_gather(c, args, weights);
        break;
    }
}

static const char *chosen(const kernel_plan *plan)
{
    static const char *const names[] = {"a product", "cuDNN", "gathered windows"};
    return names[((const conv *)plan->state)->kind];
}

const kernel cuda_conv2d = {.plan = plan_conv, .prepare = prepare, .run = run, .release = release, .chosen = chosen};
const kernel cuda_conv2d_dx = {.plan = plan_conv, .prepare = prepare, .run = run, .release = release, .chosen = chosen};
