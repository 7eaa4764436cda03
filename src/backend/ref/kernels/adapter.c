/* What adapters compute beside linear and conv2d: product, swap, row_norms, affine with its gradient, multiply. `add`,
 * or what is multiplied, may be the output's own memory. */
#include <math.h>

#include "backend/ref/kernels/kernel.h"

static void run_product(const kernel_args *a)
{
    const node_attr *attr = &a->node->attr;
    const real *left = a->input[0], *right = a->input[1], *add = a->input[2];
    real *y = a->output[0];
    const int64_t depth = attr->depth;
    const int64_t rows = shape_count(&a->node->input[0]->shape) / depth;
    const int64_t columns = shape_count(&a->node->input[1]->shape) / depth;
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            double sum = 0;
            for (int64_t k = 0; k < depth; k++)
                sum += (double)(attr->turned[0] ? left[k * rows + i] : left[i * depth + k]) *
                       (double)(attr->turned[1] ? right[j * depth + k] : right[k * columns + j]);
            sum *= (double)attr->scale;
            if (add != NULL) sum += (double)add[i * columns + j];
            y[i * columns + j] = (real)sum;
        }
    }
}

static void run_swap(const kernel_args *a)
{
    const int64_t *dim = a->node->attr.dim;
    const real *x = a->input[0];
    real *y = a->output[0];
    for (int64_t i = 0; i < dim[0]; i++)
        for (int64_t c = 0; c < dim[1]; c++)
            for (int64_t b = 0; b < dim[2]; b++)
                for (int64_t d = 0; d < dim[3]; d++)
                    y[((i * dim[2] + b) * dim[1] + c) * dim[3] + d] = x[((i * dim[1] + c) * dim[2] + b) * dim[3] + d];
}

static void run_row_norms(const kernel_args *a)
{
    const node *n = a->node;
    const shape *w = &n->input[0]->shape;
    const real *frozen = a->input[0], *up = a->input[1], *down = a->input[2];
    real *q = a->output[0];
    const int64_t rows = w->dim[0], columns = shape_count(w) / rows, taps = columns / w->dim[1];
    const int64_t rank = n->input[2]->shape.dim[0], count = n->attr.by_column ? w->dim[1] : rows;
    for (int64_t i = 0; i < count; i++) {
        double sum = 0;
        for (int64_t o = n->attr.by_column ? 0 : i; o < (n->attr.by_column ? rows : i + 1); o++) {
            for (int64_t k = n->attr.by_column ? i * taps : 0; k < (n->attr.by_column ? (i + 1) * taps : columns);
                 k++) {
                double change = 0;
                for (int64_t r = 0; r < rank; r++) change += (double)up[o * rank + r] * (double)down[r * columns + k];
                const double value = (double)frozen[o * columns + k] + (double)n->attr.scale * change;
                sum += value * value;
            }
        }
        q[i] = (real)(1 / sqrt(sum));
    }
}

static void run_affine(const kernel_args *a)
{
    const node_attr *attr = &a->node->attr;
    const real *x = a->input[0], *v = a->input[1], *b = a->input[2], *add = a->input[3];
    real *y = a->output[0];
    const int64_t rows = shape_rows(&a->node->output[0]->shape), channels = shape_last(&a->node->output[0]->shape);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < channels; c++) {
            const double factor = (double)attr->offset + (v != NULL ? (double)attr->scale * (double)v[c] : 0);
            double sum = factor * (double)x[r * channels + c];
            if (b != NULL) sum += (double)b[c];
            if (add != NULL) sum += (double)add[r * channels + c];
            y[r * channels + c] = (real)sum;
        }
    }
}

static void run_affine_dv(const kernel_args *a)
{
    const real *dy = a->input[0], *x = a->input[1], *add = a->input[2];
    real *dv = a->output[0];
    const int64_t rows = shape_rows(&a->node->input[0]->shape), channels = shape_last(&a->node->input[0]->shape);
    for (int64_t c = 0; c < channels; c++) {
        double sum = 0;
        for (int64_t r = 0; r < rows; r++) sum += (double)dy[r * channels + c] * (double)x[r * channels + c];
        sum *= (double)a->node->attr.scale;
        if (add != NULL) sum += (double)add[c];
        dv[c] = (real)sum;
    }
}

static void run_multiply(const kernel_args *a)
{
    const real *left = a->input[0], *right = a->input[1];
    real *y = a->output[0];
    const int64_t count = shape_count(&a->node->output[0]->shape);
    for (int64_t i = 0; i < count; i++) y[i] = (real)((double)left[i] * (double)right[i]);
}

const kernel REF(product) = {.run = run_product};
const kernel REF(swap) = {.run = run_swap};
const kernel REF(row_norms) = {.run = run_row_norms};
const kernel REF(affine) = {.run = run_affine};
const kernel REF(affine_dv) = {.run = run_affine_dv};
const kernel REF(multiply) = {.run = run_multiply};
