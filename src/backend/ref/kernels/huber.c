/* The pseudo-Huber loss. sqrt(d^2 + c^2) - c is computed as d^2 / (sqrt(d^2 + c^2) + c), which loses no digits. */
#include <math.h>

#include "backend/ref/kernels/kernel.h"

static void run_huber(const kernel_args *a)
{
    const real *x = a->input[0], *target = a->input[1], *c = a->input[2];
    real *loss = a->output[0];
    int64_t count = shape_count(&a->node->input[0]->shape);
    const double turn = (double)c[0];
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = (double)x[i] - (double)target[i];
        sum += d * d / (sqrt(d * d + turn * turn) + turn);
    }
    loss[0] = (real)(2 * turn * sum / (double)count);
}

static void run_huber_dx(const kernel_args *a)
{
    const real *x = a->input[0], *target = a->input[1], *c = a->input[2], *dloss = a->input[3];
    real *dx = a->output[0];
    int64_t count = shape_count(&a->node->input[0]->shape);
    const double turn = (double)c[0], factor = 2 * turn * (dloss == NULL ? 1 : (double)dloss[0]) / (double)count;
    for (int64_t i = 0; i < count; i++) {
        double d = (double)x[i] - (double)target[i];
        dx[i] = (real)(d / sqrt(d * d + turn * turn) * factor);
    }
}

const kernel REF(huber) = {.run = run_huber};
const kernel REF(huber_dx) = {.run = run_huber_dx};
