/* Operators that work element by element. Each element is read before it is written, so the output may take over the
 * shared input. */
#include "backend/ref/kernels/functions.h"
#include "backend/ref/kernels/kernel.h"

static void run_geglu(const kernel_args *a)
{
    const real *x = a->input[0];
    real *y = a->output[0];
    int64_t rows = shape_rows(&a->node->output[0]->shape), channels = shape_last(&a->node->output[0]->shape);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < channels; c++) {
            const real *row = x + r * 2 * channels;
            y[r * channels + c] = (real)((double)row[c] * gelu((double)row[channels + c]));
        }
    }
}

static void run_geglu_dx(const kernel_args *a)
{
    const real *dy = a->input[0], *x = a->input[1];
    real *dx = a->output[0];
    int64_t rows = shape_rows(&a->node->input[0]->shape), channels = shape_last(&a->node->input[0]->shape);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < channels; c++) {
            int64_t at = r * 2 * channels + c;
            double left = (double)x[at], right = (double)x[at + channels], d = (double)dy[r * channels + c];
            dx[at] = (real)(d * gelu(right));
            dx[at + channels] = (real)(d * left * gelu_derivative(right));
        }
    }
}

static void run_activation(const kernel_args *a)
{
    const real *x = a->input[0];
    real *y = a->output[0];
    int64_t count = shape_count(&a->node->output[0]->shape);
    for (int64_t i = 0; i < count; i++) y[i] = (real)activate(a->node->attr.act, (double)x[i]);
}

static void run_activation_dx(const kernel_args *a)
{
    const real *dy = a->input[0], *x = a->input[1];
    real *dx = a->output[0];
    int64_t count = shape_count(&a->node->output[0]->shape);
    for (int64_t i = 0; i < count; i++) {
        dx[i] = (real)((double)dy[i] * activate_derivative(a->node->attr.act, (double)x[i]));
    }
}

static void run_add(const kernel_args *a)
{
    const real *left = a->input[0], *right = a->input[1];
    real *y = a->output[0];
    int64_t count = shape_count(&a->node->output[0]->shape);
    for (int64_t i = 0; i < count; i++) y[i] = (real)((double)left[i] + (double)right[i]);
}

static void run_mse(const kernel_args *a)
{
    const real *x = a->input[0], *target = a->input[1];
    real *loss = a->output[0];
    int64_t count = shape_count(&a->node->input[0]->shape);
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = (double)x[i] - (double)target[i];
        sum += d * d;
    }
    loss[0] = (real)(sum / (double)count);
}

static void run_mse_dx(const kernel_args *a)
{
    const real *x = a->input[0], *target = a->input[1], *dloss = a->input[2];
    real *dx = a->output[0];
    int64_t count = shape_count(&a->node->input[0]->shape);
    double factor = 2 * (dloss == NULL ? 1 : (double)dloss[0]) / (double)count;
    for (int64_t i = 0; i < count; i++) dx[i] = (real)(((double)x[i] - (double)target[i]) * factor);
}

const kernel REF(geglu) = {.run = run_geglu};
const kernel REF(geglu_dx) = {.run = run_geglu_dx};
const kernel REF(activation) = {.run = run_activation};
const kernel REF(activation_dx) = {.run = run_activation_dx};
const kernel REF(add) = {.run = run_add};
const kernel REF(mse) = {.run = run_mse};
const kernel REF(mse_dx) = {.run = run_mse_dx};
