/* The operators that are a kernel each: their shapes are read off the node at each run. */
#include "backend/cuda/kernels.h"

static int64_t count_of(const tensor *t)
{
    return shape_count(&t->shape);
}

/* ---- norms ---- */

static group_norm_shape norm_shape(const node *n, const tensor *x)
{
    const shape *s = &x->shape;
    return (group_norm_shape){.samples = s->dim[0],
                              .positions = shape_rows(s) / s->dim[0],
                              .channels = shape_last(s),
                              .groups = n->attr.groups,
                              .eps = n->attr.eps,
                              .silu = n->attr.silu};
}

/* x is the last but two inputs of both: input 0 of the norm, 1 of its gradient. */
static leco_status plan_group_norm(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    (void)err;
    const group_norm_shape s = norm_shape(at->node, at->node->input[at->node->op == OP_GROUP_NORM ? 0 : 1]);
    plan->scratch_bytes = group_norm_scratch(s.samples, s.positions, s.channels, s.groups);
    return LECO_OK;
}

static void run_group_norm(const kernel_args *a)
{
    const group_norm_shape s = norm_shape(a->node, a->node->input[0]);
    launch_group_norm(type_of(a->node->input[0]), &s, a->input[0], a->input[1], a->input[2], a->output[0], a->output[1],
                      a->scratch);
}

static void run_group_norm_dx(const kernel_args *a)
{
    const group_norm_shape s = norm_shape(a->node, a->node->input[1]);
    launch_group_norm_dx(type_of(a->node->input[1]), &s, a->input[0], a->input[1], a->input[2], a->input[3],
                         a->input[4], a->input[5], a->output[0], a->scratch);
}

static void run_layer_norm(const kernel_args *a)
{
    const tensor *x = a->node->input[0];
    launch_layer_norm(type_of(x), a->input[0], a->input[1], a->input[2], a->output[0], a->output[1],
                      shape_rows(&x->shape), shape_last(&x->shape), a->node->attr.eps);
}

static void run_layer_norm_dx(const kernel_args *a)
{
    const tensor *x = a->node->input[1];
    launch_layer_norm_dx(type_of(x), a->input[0], a->input[1], a->input[2], a->input[3], a->input[4], a->output[0],
                         shape_rows(&x->shape), shape_last(&x->shape));
}

/* ---- element by element ---- */

static void run_geglu(const kernel_args *a)
{
    const tensor *y = a->node->output[0];
    launch_geglu(type_of(y), a->input[0], a->output[0], shape_rows(&y->shape), shape_last(&y->shape));
}

static void run_geglu_dx(const kernel_args *a)
{
    const tensor *dy = a->node->input[0];
    launch_geglu_dx(type_of(dy), a->input[0], a->input[1], a->output[0], shape_rows(&dy->shape),
                    shape_last(&dy->shape));
}

static void run_activation(const kernel_args *a)
{
    const tensor *y = a->node->output[0];
    launch_activation(type_of(y), (int)a->node->attr.act, a->input[0], a->output[0], count_of(y));
}

static void run_activation_dx(const kernel_args *a)
{
    const tensor *dx = a->node->output[0];
    launch_activation_dx(type_of(dx), (int)a->node->attr.act, a->input[0], a->input[1], a->output[0], count_of(dx));
}

static void run_add(const kernel_args *a)
{
    const tensor *y = a->node->output[0];
    launch_add(type_of(y), a->input[0], a->input[1], a->output[0], count_of(y));
}

static leco_status plan_mse(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    (void)at;
    (void)err;
    plan->scratch_bytes = MSE_PARTS * sizeof(float);
    return LECO_OK;
}

static void run_mse(const kernel_args *a)
{
    const tensor *x = a->node->input[0], *target = a->node->input[1];
    launch_mse(type_of(x), type_of(target), a->input[0], a->input[1], a->output[0], a->scratch, count_of(x));
}

static void run_mse_dx(const kernel_args *a)
{
    const tensor *x = a->node->input[0], *target = a->node->input[1];
    launch_mse_dx(type_of(x), type_of(target), a->input[0], a->input[1], a->input[2], a->output[0], count_of(x));
}

/* ---- layout ---- */

static void run_add_spatial(const kernel_args *a)
{
    const shape *s = &a->node->output[0]->shape;
    launch_add_spatial(type_of(a->node->output[0]), a->input[0], a->input[1], a->output[0], s->dim[0],
                       s->dim[1] * s->dim[2], s->dim[3]);
}

static void run_sum_spatial(const kernel_args *a)
{
    const shape *s = &a->node->input[0]->shape;
    launch_sum_spatial(type_of(a->node->input[0]), a->input[0], a->output[0], a->node->attr.scale, s->dim[0],
                       s->dim[1] * s->dim[2], s->dim[3]);
}

static void run_concat(const kernel_args *a)
{
    const tensor *left = a->node->input[0], *right = a->node->input[1], *y = a->node->output[0];
    const int64_t rows = shape_rows(&y->shape), width = shape_last(&y->shape), first = shape_last(&left->shape);
    const size_t size = dtype_size(y->type);
    launch_copy_columns(size, a->output[0], width, 0, a->input[0], first, 0, rows, first);
    launch_copy_columns(size, a->output[0], width, first, a->input[1], shape_last(&right->shape), 0, rows,
                        shape_last(&right->shape));
}

static void run_slice(const kernel_args *a)
{
    const tensor *x = a->node->input[0];
    const node_attr *attr = &a->node->attr;
    launch_copy_columns(dtype_size(x->type), a->output[0], attr->length, 0, a->input[0], shape_last(&x->shape),
                        attr->from, shape_rows(&x->shape), attr->length);
}

static void run_upsample(const kernel_args *a)
{
    const shape *x = &a->node->input[0]->shape, *y = &a->node->output[0]->shape;
    launch_upsample(type_of(a->node->output[0]), a->input[0], a->output[0], x->dim[0], x->dim[1], x->dim[2], y->dim[1],
                    y->dim[2], x->dim[3]);
}

static void run_upsample_dx(const kernel_args *a)
{
    const shape *dx = &a->node->output[0]->shape, *dy = &a->node->input[0]->shape;
    launch_upsample_dx(type_of(a->node->output[0]), a->input[0], a->output[0], dx->dim[0], dx->dim[1], dx->dim[2],
                       dy->dim[1], dy->dim[2], dx->dim[3]);
}

/* ---- embeddings ---- */

static void run_timestep_embedding(const kernel_args *a)
{
    const tensor *y = a->node->output[0];
    launch_timestep_embedding(type_of(y), a->input[0], a->output[0], y->shape.dim[0], y->shape.dim[1],
                              a->node->attr.flip_sin_to_cos, a->node->attr.freq_shift);
}

static void run_embedding(const kernel_args *a)
{
    const tensor *y = a->node->output[0];
    launch_embedding(type_of(y), a->input[0], a->input[1], a->input[2], a->output[0], y->shape.dim[0], y->shape.dim[1],
                     y->shape.dim[2], a->node->input[1]->shape.dim[0]);
}

static void run_add_rows(const kernel_args *a)
{
    const tensor *y = a->node->output[0];
    launch_add_rows(type_of(y), a->input[0], a->input[1], a->input[2], a->output[0], count_of(a->node->input[1]),
                    shape_last(&y->shape), a->node->attr.from, a->node->input[2]->shape.dim[0]);
}

static void run_add_rows_dw(const kernel_args *a)
{
    const shape *rows = &a->node->output[0]->shape;
    launch_add_rows_dw(type_of(a->node->input[0]), a->input[0], a->input[1], a->input[2], a->output[0],
                       count_of(a->node->input[1]), rows->dim[1], a->node->attr.from, rows->dim[0]);
}

static void run_select_rows(const kernel_args *a)
{
    const shape *x = &a->node->input[0]->shape;
    launch_select_rows(type_of(a->node->output[0]), a->input[0], a->input[1], a->output[0], x->dim[0], x->dim[1],
                       x->dim[2]);
}

static void run_select_rows_dx(const kernel_args *a)
{
    const shape *dx = &a->node->output[0]->shape;
    launch_select_rows_dx(type_of(a->node->output[0]), a->input[0], a->input[1], a->output[0], dx->dim[0], dx->dim[1],
                          dx->dim[2]);
}

const kernel cuda_group_norm = {.plan = plan_group_norm, .run = run_group_norm};
const kernel cuda_group_norm_dx = {.plan = plan_group_norm, .run = run_group_norm_dx};
const kernel cuda_layer_norm = {.run = run_layer_norm}, cuda_layer_norm_dx = {.run = run_layer_norm_dx};
const kernel cuda_geglu = {.run = run_geglu}, cuda_geglu_dx = {.run = run_geglu_dx};
const kernel cuda_activation = {.run = run_activation}, cuda_activation_dx = {.run = run_activation_dx};
const kernel cuda_add = {.run = run_add}, cuda_add_spatial = {.run = run_add_spatial};
const kernel cuda_mse = {.plan = plan_mse, .run = run_mse}, cuda_mse_dx = {.run = run_mse_dx};
const kernel cuda_sum_spatial = {.run = run_sum_spatial}, cuda_concat = {.run = run_concat};
const kernel cuda_slice = {.run = run_slice};
const kernel cuda_upsample = {.run = run_upsample}, cuda_upsample_dx = {.run = run_upsample_dx};
const kernel cuda_timestep_embedding = {.run = run_timestep_embedding}, cuda_embedding = {.run = run_embedding};
const kernel cuda_add_rows = {.run = run_add_rows}, cuda_add_rows_dw = {.run = run_add_rows_dw};
const kernel cuda_select_rows = {.run = run_select_rows}, cuda_select_rows_dx = {.run = run_select_rows_dx};
