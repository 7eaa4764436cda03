/* linear and conv2d with their gradients. In all of them `add` may be the output's own memory: each of its elements is
 * read just before the one output element that it belongs to is written. */
#include "backend/ref/kernels/kernel.h"

static void run_linear(const kernel_args *a)
{
    const real *x = a->input[0], *w = a->input[1], *b = a->input[2], *add = a->input[3];
    real *y = a->output[0];
    int64_t rows = shape_rows(&a->node->output[0]->shape), out = shape_last(&a->node->output[0]->shape);
    int64_t in = shape_last(&a->node->input[0]->shape);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t o = 0; o < out; o++) {
            double sum = 0;
            for (int64_t i = 0; i < in; i++) sum += (double)x[r * in + i] * (double)w[o * in + i];
            sum *= (double)a->node->attr.scale;
            if (b != NULL) sum += (double)b[o];
            if (add != NULL) sum += (double)add[r * out + o];
            y[r * out + o] = (real)sum;
        }
    }
}

static void run_linear_dx(const kernel_args *a)
{
    const real *dy = a->input[0], *w = a->input[1], *add = a->input[2];
    real *dx = a->output[0];
    int64_t rows = shape_rows(&a->node->output[0]->shape), in = shape_last(&a->node->output[0]->shape);
    int64_t out = shape_last(&a->node->input[0]->shape);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < in; i++) {
            double sum = 0;
            for (int64_t o = 0; o < out; o++) sum += (double)dy[r * out + o] * (double)w[o * in + i];
            sum *= (double)a->node->attr.scale;
            if (add != NULL) sum += (double)add[r * in + i];
            dx[r * in + i] = (real)sum;
        }
    }
}

static void run_linear_dw(const kernel_args *a)
{
    const real *dy = a->input[0], *x = a->input[1], *add = a->input[2];
    real *dw = a->output[0];
    int64_t rows = shape_rows(&a->node->input[0]->shape);
    int64_t out = shape_last(&a->node->input[0]->shape), in = shape_last(&a->node->input[1]->shape);
    for (int64_t o = 0; o < out; o++) {
        for (int64_t i = 0; i < in; i++) {
            double sum = 0;
            for (int64_t r = 0; r < rows; r++) sum += (double)dy[r * out + o] * (double)x[r * in + i];
            sum *= (double)a->node->attr.scale;
            if (add != NULL) sum += (double)add[o * in + i];
            dw[o * in + i] = (real)sum;
        }
    }
}

/* One element of conv(x, w): image n, position (i, j), output channel o. */
static double conv_at(const node *nd, const real *x, const real *w, int64_t n, int64_t i, int64_t j, int64_t o)
{
    const shape *xs = &nd->input[0]->shape, *ws = &nd->input[1]->shape;
    int64_t height = xs->dim[1], width = xs->dim[2], in = ws->dim[1], kh = ws->dim[2], kw = ws->dim[3];
    double sum = 0;
    for (int64_t p = 0; p < kh; p++) {
        int64_t row = i * nd->attr.stride + p - nd->attr.pad[0];
        if (row < 0 || row >= height) continue;
        for (int64_t q = 0; q < kw; q++) {
            int64_t column = j * nd->attr.stride + q - nd->attr.pad[1];
            if (column < 0 || column >= width) continue;
            const real *pixel = x + ((n * height + row) * width + column) * in;
            for (int64_t c = 0; c < in; c++) {
                sum += (double)pixel[c] * (double)w[((o * in + c) * kh + p) * kw + q];
            }
        }
    }
    return sum;
}

static void run_conv2d(const kernel_args *a)
{
    const real *x = a->input[0], *w = a->input[1], *b = a->input[2], *add = a->input[3];
    real *y = a->output[0];
    const shape *s = &a->node->output[0]->shape;
    int64_t at = 0;
    for (int64_t n = 0; n < s->dim[0]; n++) {
        for (int64_t i = 0; i < s->dim[1]; i++) {
            for (int64_t j = 0; j < s->dim[2]; j++) {
                for (int64_t o = 0; o < s->dim[3]; o++, at++) {
                    double sum = conv_at(a->node, x, w, n, i, j, o);
                    if (b != NULL) sum += (double)b[o];
                    if (add != NULL) sum += (double)add[at];
                    y[at] = (real)sum;
                }
            }
        }
    }
}

/* One element of the data gradient: the sum over all outputs that read x[n,h,v,c]. */
static double conv_dx_at(const node *nd, const real *dy, const real *w, int64_t n, int64_t h, int64_t v, int64_t c)
{
    const shape *ys = &nd->input[0]->shape, *ws = &nd->input[1]->shape;
    int64_t height = ys->dim[1], width = ys->dim[2], out = ws->dim[0], in = ws->dim[1];
    int64_t kh = ws->dim[2], kw = ws->dim[3], stride = nd->attr.stride;
    double sum = 0;
    for (int64_t p = 0; p < kh; p++) {
        int64_t i = h + nd->attr.pad[0] - p; /* stride times the output's row */
        if (i < 0 || i % stride != 0 || i / stride >= height) continue;
        for (int64_t q = 0; q < kw; q++) {
            int64_t j = v + nd->attr.pad[1] - q;
            if (j < 0 || j % stride != 0 || j / stride >= width) continue;
            const real *pixel = dy + ((n * height + i / stride) * width + j / stride) * out;
            for (int64_t o = 0; o < out; o++) {
                sum += (double)pixel[o] * (double)w[((o * in + c) * kh + p) * kw + q];
            }
        }
    }
    return sum;
}

static void run_conv2d_dx(const kernel_args *a)
{
    const real *dy = a->input[0], *w = a->input[1], *add = a->input[2];
    real *dx = a->output[0];
    const shape *s = &a->node->output[0]->shape;
    int64_t at = 0;
    for (int64_t n = 0; n < s->dim[0]; n++) {
        for (int64_t h = 0; h < s->dim[1]; h++) {
            for (int64_t v = 0; v < s->dim[2]; v++) {
                for (int64_t c = 0; c < s->dim[3]; c++, at++) {
                    double sum = conv_dx_at(a->node, dy, w, n, h, v, c);
                    if (add != NULL) sum += (double)add[at];
                    dx[at] = (real)sum;
                }
            }
        }
    }
}

/* One element of the weight gradient: the sum over all positions of dy times what the window has at (p, q). */
static double conv_dw_at(const node *nd, const real *dy, const real *x, int64_t o, int64_t c, int64_t p, int64_t q)
{
    const shape *ys = &nd->input[0]->shape, *xs = &nd->input[1]->shape;
    int64_t height = xs->dim[1], width = xs->dim[2];
    double sum = 0;
    for (int64_t n = 0; n < ys->dim[0]; n++) {
        for (int64_t i = 0; i < ys->dim[1]; i++) {
            int64_t row = i * nd->attr.stride + p - nd->attr.pad[0];
            if (row < 0 || row >= height) continue;
            for (int64_t j = 0; j < ys->dim[2]; j++) {
                int64_t column = j * nd->attr.stride + q - nd->attr.pad[1];
                if (column < 0 || column >= width) continue;
                sum += (double)dy[((n * ys->dim[1] + i) * ys->dim[2] + j) * ys->dim[3] + o] *
                       (double)x[((n * height + row) * width + column) * xs->dim[3] + c];
            }
        }
    }
    return sum;
}

static void run_conv2d_dw(const kernel_args *a)
{
    const real *dy = a->input[0], *x = a->input[1], *add = a->input[2];
    real *dw = a->output[0];
    const shape *s = &a->node->attr.target;
    int64_t at = 0;
    for (int64_t o = 0; o < s->dim[0]; o++) {
        for (int64_t c = 0; c < s->dim[1]; c++) {
            for (int64_t p = 0; p < s->dim[2]; p++) {
                for (int64_t q = 0; q < s->dim[3]; q++, at++) {
                    double sum = conv_dw_at(a->node, dy, x, o, c, p, q);
                    if (add != NULL) sum += (double)add[at];
                    dw[at] = (real)sum;
                }
            }
        }
    }
}

const kernel REF(linear) = {.run = run_linear};
const kernel REF(linear_dx) = {.run = run_linear_dx};
const kernel REF(linear_dw) = {.run = run_linear_dw};
const kernel REF(conv2d) = {.run = run_conv2d};
const kernel REF(conv2d_dx) = {.run = run_conv2d_dx};
const kernel REF(conv2d_dw) = {.run = run_conv2d_dw};
