/* What adapters compute beside linear and conv2d. */
#include "backend/cuda/adapter.h"

#include "backend/cuda/kernels.h"

static void run_product(const kernel_args *a)
{
    const node *n = a->node;
    const int64_t depth = n->attr.depth;
    const adapter_product s = {.rows = shape_count(&n->input[0]->shape) / depth,
                               .columns = shape_count(&n->input[1]->shape) / depth,
                               .depth = depth,
                               .a_turned = n->attr.turned[0],
                               .b_turned = n->attr.turned[1],
                               .scale = n->attr.scale};
    launch_product(&s, a->input[0], a->input[1], a->input[2], a->output[0]);
}

static void run_swap(const kernel_args *a)
{
    launch_swap(a->node->attr.dim, a->input[0], a->output[0]);
}

static void run_row_norms(const kernel_args *a)
{
    const node *n = a->node;
    const shape *w = &n->input[0]->shape;
    const row_norms_shape s = {.rows = w->dim[0],
                               .in = w->dim[1],
                               .taps = shape_count(w) / w->dim[0] / w->dim[1],
                               .rank = n->input[2]->shape.dim[0],
                               .scale = n->attr.scale,
                               .by_column = n->attr.by_column};
    launch_row_norms(type_of(n->input[0]), &s, a->input[0], a->input[1], a->input[2], a->output[0]);
}

static affine_shape affine_of(const node *n, const tensor *x)
{
    return (affine_shape){shape_rows(&x->shape), shape_last(&x->shape), n->attr.offset, n->attr.scale};
}

static void run_affine(const kernel_args *a)
{
    const affine_shape s = affine_of(a->node, a->node->input[0]);
    launch_affine(type_of(a->node->input[0]), &s, a->input[0], a->input[1], a->input[2], a->input[3], a->output[0]);
}

static void run_affine_dv(const kernel_args *a)
{
    const affine_shape s = affine_of(a->node, a->node->input[1]);
    launch_affine_dv(type_of(a->node->input[1]), &s, a->input[0], a->input[1], a->input[2], a->output[0]);
}

static void run_multiply(const kernel_args *a)
{
    const tensor *y = a->node->output[0];
    launch_multiply(type_of(y), a->input[0], a->input[1], a->output[0], shape_count(&y->shape));
}

const kernel cuda_product = {.run = run_product}, cuda_swap = {.run = run_swap};
const kernel cuda_row_norms = {.run = run_row_norms}, cuda_affine = {.run = run_affine};
const kernel cuda_affine_dv = {.run = run_affine_dv}, cuda_multiply = {.run = run_multiply};
