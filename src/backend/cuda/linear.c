/* linear and its gradients as products. A weight that isn't of the compute dtype (a param, or one that was computed, in
 * f32) is converted at each run: an adapter's are small. */
#include "backend/cuda/kernels.h"
#include "backend/cuda/product.h"
#include "base/mem.h"

typedef struct linear {
    gpu_product product;
    int bias, add; /* indices among the inputs, -1: none */
    bool converts;
    size_t converted_at; /* in scratch, behind the product's */
    int64_t weight_count;
} linear;

static leco_status make(const kernel_site *at, const gpu_product *p, kernel_plan *plan, linear **out, leco_error *err)
{
    linear *l = mem_calloc(1, sizeof *l);
    if (!l) return error_memory(err, sizeof *l, at->node->name);
    plan->state = l;
    l->product = *p;
    l->product.scale = at->node->attr.scale;
    l->bias = l->add = -1;
    *out = l;
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

static leco_status linear_plan(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    const node *n = at->node;
    const shape *y = &n->output[0]->shape;
    gpu_product p = {.rows = shape_rows(y), .columns = shape_last(y), .depth = shape_last(&n->input[0]->shape)};
    p.b_transposed = true;
    p.has_bias = n->input[2] != NULL;
    p.has_add = n->input[3] != NULL;
    p.type = p.out = gpu_type_of(at->compute);
    linear *l;
    LECO_TRY(make(at, &p, plan, &l, err));
    l->bias = p.has_bias ? 2 : -1;
    l->add = p.has_add ? 3 : -1;
    plan_weight(l, at, plan);
    return LECO_OK;
}

static leco_status linear_dx_plan(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    const node *n = at->node;
    const shape *dx = &n->output[0]->shape;
    gpu_product p = {.rows = shape_rows(dx), .columns = shape_last(dx), .depth = shape_last(&n->input[0]->shape)};
    p.has_add = n->input[2] != NULL;
    p.type = p.out = gpu_type_of(at->compute);
    linear *l;
    LECO_TRY(make(at, &p, plan, &l, err));
    l->add = p.has_add ? 2 : -1;
    plan_weight(l, at, plan);
    return LECO_OK;
}

static leco_status linear_dw_plan(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    const node *n = at->node;
    const shape *dy = &n->input[0]->shape;
    gpu_product p = {.rows = shape_last(dy), .columns = shape_last(&n->input[1]->shape), .depth = shape_rows(dy)};
    p.a_transposed = true;
    p.has_add = n->input[2] != NULL;
    p.type = gpu_type_of(at->compute);
    p.out = GPU_F32;
    linear *l;
    LECO_TRY(make(at, &p, plan, &l, err));
    l->add = p.has_add ? 2 : -1;
    return LECO_OK;
}

static void run(const kernel_args *args)
{
    const linear *l = args->plan->state;
    const void *b = args->input[1];
    if (l->converts) {
        void *converted = (char *)args->scratch + l->converted_at;
        launch_convert(GPU_F32, l->product.type, b, converted, l->weight_count);
        b = converted;
    }
    gpu_product_run(&l->product, args->input[0], b, l->bias >= 0 ? args->input[l->bias] : NULL,
                l->add >= 0 ? args->input[l->add] : NULL, args->output[0], args->scratch);
}

static void release(kernel_plan *plan)
{
    linear *l = plan->state;
    if (l) gpu_product_release(&l->product);
    mem_free(l);
    plan->state = NULL;
}

const kernel cuda_linear = {.plan = linear_plan, .run = run, .release = release};
const kernel cuda_linear_dx = {.plan = linear_dx_plan, .run = run, .release = release};
const kernel cuda_linear_dw = {.plan = linear_dw_plan, .run = run, .release = release};
