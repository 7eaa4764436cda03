/* hadamard and the gradients of its factors. `add` may be the output's own memory. */
#include "backend/ref/kernels/kernel.h"

/* Element (row, column) of left [..,rank] right [rank,columns]. */
static double product_at(const real *left, const real *right, int64_t rank, int64_t columns, int64_t row,
                         int64_t column)
{
    double sum = 0;
    for (int64_t r = 0; r < rank; r++) sum += (double)left[row * rank + r] * (double)right[r * columns + column];
    return sum;
}

static void run_hadamard(const kernel_args *a)
{
    const node *n = a->node;
    real *w = a->output[0];
    int64_t rows = n->output[0]->shape.dim[0], columns = shape_count(&n->output[0]->shape) / rows;
    int64_t first = n->input[0]->shape.dim[1], second = n->input[2]->shape.dim[1];
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t k = 0; k < columns; k++) {
            double left = product_at(a->input[0], a->input[1], first, columns, i, k);
            double right = product_at(a->input[2], a->input[3], second, columns, i, k);
            w[i * columns + k] = (real)((double)n->attr.scale * left * right);
        }
    }
}

/* Element (i, k) of scale * dw * (c d). */
static double masked_at(const kernel_args *a, int64_t columns, int64_t i, int64_t k)
{
    const real *dw = a->input[0];
    double other = product_at(a->input[2], a->input[3], a->node->input[2]->shape.dim[1], columns, i, k);
    return (double)a->node->attr.scale * (double)dw[i * columns + k] * other;
}

static void run_hadamard_da(const kernel_args *a)
{
    const real *b = a->input[1], *add = a->input[4];
    real *da = a->output[0];
    int64_t rows = a->node->input[0]->shape.dim[0], columns = shape_count(&a->node->input[0]->shape) / rows;
    int64_t rank = a->node->input[1]->shape.dim[0];
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t r = 0; r < rank; r++) {
            double sum = add != NULL ? (double)add[i * rank + r] : 0;
            for (int64_t k = 0; k < columns; k++) sum += masked_at(a, columns, i, k) * (double)b[r * columns + k];
            da[i * rank + r] = (real)sum;
        }
    }
}

static void run_hadamard_db(const kernel_args *a)
{
    const real *left = a->input[1], *add = a->input[4];
    real *db = a->output[0];
    int64_t rows = a->node->input[0]->shape.dim[0], columns = shape_count(&a->node->input[0]->shape) / rows;
    int64_t rank = a->node->input[1]->shape.dim[1];
    for (int64_t r = 0; r < rank; r++) {
        for (int64_t k = 0; k < columns; k++) {
            double sum = add != NULL ? (double)add[r * columns + k] : 0;
            for (int64_t i = 0; i < rows; i++) sum += masked_at(a, columns, i, k) * (double)left[i * rank + r];
            db[r * columns + k] = (real)sum;
        }
    }
}

const kernel REF(hadamard) = {.run = run_hadamard};
const kernel REF(hadamard_da) = {.run = run_hadamard_da};
const kernel REF(hadamard_db) = {.run = run_hadamard_db};
