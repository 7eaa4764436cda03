/* The operators of LoHa: hadamard and the gradients of its factors. */
#include "backend/cuda/hadamard.h"

#include "backend/cuda/kernels.h"

/* `w` is [rows,..]: the weight, or its gradient. */
static hadamard_shape sizes_of(const node *n, const tensor *w, int64_t first)
{
    const int64_t rows = w->shape.dim[0], columns = shape_count(&w->shape) / rows;
    return (hadamard_shape){rows, columns, first, n->input[2]->shape.dim[1], n->attr.scale};
}

static void run_hadamard(const kernel_args *a)
{
    const node *n = a->node;
    const hadamard_shape s = sizes_of(n, n->output[0], n->input[0]->shape.dim[1]);
    launch_hadamard(&s, a->input[0], a->input[1], a->input[2], a->input[3], a->output[0]);
}

static void run_hadamard_da(const kernel_args *a)
{
    const node *n = a->node;
    const hadamard_shape s = sizes_of(n, n->input[0], n->input[1]->shape.dim[0]);
    launch_hadamard_da(&s, a->input[0], a->input[1], a->input[2], a->input[3], a->input[4], a->output[0]);
}

static void run_hadamard_db(const kernel_args *a)
{
    const node *n = a->node;
    const hadamard_shape s = sizes_of(n, n->input[0], n->input[1]->shape.dim[1]);
    launch_hadamard_db(&s, a->input[0], a->input[1], a->input[2], a->input[3], a->input[4], a->output[0]);
}

const kernel cuda_hadamard = {.run = run_hadamard};
const kernel cuda_hadamard_da = {.run = run_hadamard_da}, cuda_hadamard_db = {.run = run_hadamard_db};
