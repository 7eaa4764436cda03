/* The scalar functions of the reference kernels and their derivatives. */
#ifndef LECO_REF_FUNCTIONS_H
#define LECO_REF_FUNCTIONS_H

#include <math.h>

#include "graph/tensor.h"

static inline double logistic(double x)
{
    return 1 / (1 + exp(-x));
}

static inline double silu(double x)
{
    return x * logistic(x);
}

static inline double silu_derivative(double x)
{
    double s = logistic(x);
    return s * (1 + x * (1 - s));
}

static inline double gelu(double x)
{
    return 0.5 * x * (1 + erf(x * 0.70710678118654752440));
}

/* Phi(x) + x phi(x), the normal distribution's function and density. */
static inline double gelu_derivative(double x)
{
    return 0.5 * (1 + erf(x * 0.70710678118654752440)) + x * exp(-0.5 * x * x) * 0.39894228040143267794;
}

#define QUICK_GELU_SLOPE 1.702

static inline double activate(activation act, double x)
{
    switch (act) {
    case ACT_SILU:
        return silu(x);
    case ACT_GELU:
        return gelu(x);
    case ACT_QUICK_GELU:
        return x * logistic(QUICK_GELU_SLOPE * x);
    }
    return NAN;
}

static inline double activate_derivative(activation act, double x)
{
    switch (act) {
    case ACT_SILU:
        return silu_derivative(x);
    case ACT_GELU:
        return gelu_derivative(x);
    case ACT_QUICK_GELU:
        return silu_derivative(QUICK_GELU_SLOPE * x);
    }
    return NAN;
}

#endif
