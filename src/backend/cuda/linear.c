/* linear and its gradients, in one of two ways:
 *
 * NARROW: where the weight isn't frozen and has a side of at most 16, as LoRA's have: narrow.cu, which reads it in f32.
 *
 * PRODUCT: cuBLASLt. A weight that isn't of the compute dtype (a param, or one that was computed, in f32) is converted
 * at each run. */
#include "backend/cuda/kernels.h"
#include "backend/cuda/product.h"
#include "base/mem.h"

typedef struct linear {
    enum { LINEAR_PRODUCT, LINEAR_REDUCE, LINEAR_EXPAND, LINEAR_NARROW_DW } kind;
    gpu_product product;
    int64_t rows, wide, rank; /* narrow: the three sizes, the smallest side of the weight last */
    bool rank_first;          /* the weight is [rank,wide], else [wide,rank] */
    gpu_type type;
    float scale;
    int bias, add; /* indices among the inputs, -1: none */
    bool converts;
    size_t converted_at; /* in scratch, behind the product's */
    int64_t weight_count;
} linear;

static leco_status make(const kernel_site *at, kernel_plan *plan, int bias, int add, linear **out, leco_error *err)
{
    const node *n = at->node;
    linear *l = mem_calloc(1, sizeof *l);
    if (!l) return error_memory(err, sizeof *l, n->name);
    plan->state = l;
    l->type = gpu_type_of(at->compute);
    l->scale = n->attr.scale;
    l->bias = bias >= 0 && n->input[bias] ? bias : -1;
    l->add = n->input[add] ? add : -1;
    *out = l;
    return LECO_OK;
}

static leco_status plan_product(linear *l, const kernel_site *at, gpu_product p, kernel_plan *plan, leco_error *err)
{
    p.scale = l->scale;
    p.has_bias = l->bias >= 0;
    p.has_add = l->add >= 0;
    p.type = l->type;
    p.out = gpu_type_of(at->node->output[0]->type);
    l->product = p;
    leco_status status = gpu_product_plan(&l->product, err);
    plan->scratch_bytes = l->product.scratch_bytes;
    return status == LECO_OK ? LECO_OK : error_prefix(err, status, "%s", at->node->name);
}

/* The weight is input 1. */
static void plan_weight(linear *l, const kernel_site *at, kernel_plan *plan)
{
    const tensor *w = at->node->input[1];
    l->converts = w->kind != TENSOR_WEIGHT && w->type != at->compute;
    if (!l->converts) return;
    l->weight_count = shape_count(&w->shape);
    l->converted_at = scratch_after(plan->scratch_bytes);
    plan->scratch_bytes = l->converted_at + (size_t)l->weight_count * dtype_size(at->compute);
}

/* Whether the product with w [out,in] is a narrow one, and then its sizes. */
static bool plan_narrow(linear *l, const shape *w, int64_t rows)
{
    const int64_t out = w->dim[0], in = w->dim[1];
    l->rank_first = out < in;
    l->rank = l->rank_first ? out : in;
    l->wide = l->rank_first ? in : out;
    l->rows = rows;
    return l->rank <= NARROW_MOST && l->bias < 0;
}

static leco_status linear_plan(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    const node *n = at->node;
    const shape *y = &n->output[0]->shape;
    linear *l;
    LECO_TRY(make(at, plan, 2, 3, &l, err));
    if (n->input[1]->kind != TENSOR_WEIGHT && plan_narrow(l, &n->input[1]->shape, shape_rows(y))) {
        l->kind = l->rank_first ? LINEAR_REDUCE : LINEAR_EXPAND;
        return LECO_OK;
    }
    gpu_product p = {.rows = shape_rows(y), .columns = shape_last(y), .depth = shape_last(&n->input[0]->shape)};
    p.b_transposed = true;
    LECO_TRY(plan_product(l, at, p, plan, err));
    plan_weight(l, at, plan);
    return LECO_OK;
}

static leco_status linear_dx_plan(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    const node *n = at->node;
    const shape *dx = &n->output[0]->shape;
    linear *l;
    LECO_TRY(make(at, plan, -1, 2, &l, err));
    if (n->input[1]->kind != TENSOR_WEIGHT && plan_narrow(l, &n->input[1]->shape, shape_rows(dx))) {
        l->kind = l->rank_first ? LINEAR_EXPAND : LINEAR_REDUCE;
        return LECO_OK;
    }
    const gpu_product p = {.rows = shape_rows(dx), .columns = shape_last(dx), .depth = shape_last(&n->input[0]->shape)};
    LECO_TRY(plan_product(l, at, p, plan, err));
    plan_weight(l, at, plan);
    return LECO_OK;
}

static leco_status linear_dw_plan(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    const node *n = at->node;
    const shape *dy = &n->input[0]->shape;
    linear *l;
    LECO_TRY(make(at, plan, -1, 2, &l, err));
    if (plan_narrow(l, &n->attr.target, shape_rows(dy))) {
        l->kind = LINEAR_NARROW_DW;
        plan->scratch_bytes = narrow_dw_scratch(l->rows, l->wide, l->rank);
        return LECO_OK;
    }
    gpu_product p = {.rows = shape_last(dy), .columns = shape_last(&n->input[1]->shape), .depth = shape_rows(dy)};
    p.a_transposed = true;
    return plan_product(l, at, p, plan, err);
}

static void run_product(const linear *l, const kernel_args *args, const void *add)
{
    const void *b = args->input[1];
    if (l->converts) {
        void *converted = (char *)args->scratch + l->converted_at;
        launch_convert(GPU_F32, l->type, b, converted, l->weight_count);
        b = converted;
    }
    gpu_product_run(&l->product, args->input[0], b, l->bias >= 0 ? args->input[l->bias] : NULL, add, args->output[0],
                    args->scratch);
}

static void run(const kernel_args *args)
{
    const linear *l = args->plan->state;
    const void *x = args->input[0], *add = l->add >= 0 ? args->input[l->add] : NULL;
    const narrow_weight w = {.at = l->kind == LINEAR_NARROW_DW ? args->output[0] : args->input[1],
                             .rank_step = l->rank_first ? l->wide : 1,
                             .wide_step = l->rank_first ? 1 : l->rank};
    switch (l->kind) {
    case LINEAR_PRODUCT:
        run_product(l, args, add);
        break;
    case LINEAR_REDUCE:
        launch_narrow_reduce(l->type, x, &w, add, args->output[0], l->rows, l->wide, l->rank, l->scale);
        break;
    case LINEAR_EXPAND:
        launch_narrow_expand(l->type, x, &w, add, args->output[0], l->rows, l->wide, l->rank, l->scale);
        break;
    case LINEAR_NARROW_DW: /* dy [rows,out] and x [rows,in]; the weight is [out,in] */
        launch_narrow_dw(l->type, l->rank_first ? x : args->input[1], l->rank_first ? args->input[1] : x, add, &w,
                         l->rows, l->wide, l->rank, l->scale, args->scratch);
        break;
    }
}

static void release(kernel_plan *plan)
{
    linear *l = plan->state;
    if (l) gpu_product_release(&l->product);
    mem_free(l);
    plan->state = NULL;
}

static const char *chosen(const kernel_plan *plan)
{
    return ((const linear *)plan->state)->kind == LINEAR_PRODUCT ? "cuBLASLt" : "a narrow kernel";
}

const kernel cuda_linear = {.plan = linear_plan, .run = run, .release = release, .chosen = chosen};
const kernel cuda_linear_dx = {.plan = linear_dx_plan, .run = run, .release = release, .chosen = chosen};
const kernel cuda_linear_dw = {.plan = linear_dw_plan, .run = run, .release = release, .chosen = chosen};
