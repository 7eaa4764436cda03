/* Operators that move, pick or sum elements. */
#include <assert.h>
#include <math.h>

#include "backend/ref/kernels/kernel.h"

static void run_add_spatial(const kernel_args *a)
{
    const real *x = a->input[0], *v = a->input[1];
    real *y = a->output[0];
    const shape *s = &a->node->output[0]->shape;
    int64_t positions = s->dim[1] * s->dim[2], channels = s->dim[3];
    for (int64_t n = 0; n < s->dim[0]; n++) {
        for (int64_t p = 0; p < positions; p++) {
            for (int64_t c = 0; c < channels; c++) {
                int64_t at = (n * positions + p) * channels + c;
                y[at] = (real)((double)x[at] + (double)v[n * channels + c]);
            }
        }
    }
}

static void run_sum_spatial(const kernel_args *a)
{
    const real *x = a->input[0];
    real *y = a->output[0];
    const shape *s = &a->node->input[0]->shape;
    int64_t positions = s->dim[1] * s->dim[2], channels = s->dim[3];
    for (int64_t n = 0; n < s->dim[0]; n++) {
        for (int64_t c = 0; c < channels; c++) {
            double sum = 0;
            for (int64_t p = 0; p < positions; p++) sum += (double)x[(n * positions + p) * channels + c];
            y[n * channels + c] = (real)((double)a->node->attr.scale * sum);
        }
    }
}

/* dst [rows,length]: the columns of src [rows,width] from `from` on. */
static void copy_columns(real *dst, int64_t dst_width, const real *src, int64_t src_width, int64_t rows, int64_t length)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < length; c++) dst[r * dst_width + c] = src[r * src_width + c];
    }
}

static void run_concat(const kernel_args *a)
{
    int64_t left = shape_last(&a->node->input[0]->shape), right = shape_last(&a->node->input[1]->shape);
    int64_t rows = shape_rows(&a->node->output[0]->shape);
    real *y = a->output[0];
    copy_columns(y, left + right, a->input[0], left, rows, left);
    copy_columns(y + left, left + right, a->input[1], right, rows, right);
}

static void run_slice(const kernel_args *a)
{
    const real *x = a->input[0];
    const node_attr *attr = &a->node->attr;
    const shape *s = &a->node->input[0]->shape;
    copy_columns(a->output[0], attr->length, x + attr->from, shape_last(s), shape_rows(s), attr->length);
}

static void run_upsample(const kernel_args *a)
{
    const real *x = a->input[0];
    real *y = a->output[0];
    const shape *from = &a->node->input[0]->shape, *to = &a->node->output[0]->shape;
    int64_t channels = to->dim[3];
    for (int64_t n = 0; n < to->dim[0]; n++) {
        for (int64_t i = 0; i < to->dim[1]; i++) {
            for (int64_t j = 0; j < to->dim[2]; j++) {
                int64_t h = i * from->dim[1] / to->dim[1], v = j * from->dim[2] / to->dim[2];
                const real *pixel = x + ((n * from->dim[1] + h) * from->dim[2] + v) * channels;
                for (int64_t c = 0; c < channels; c++) *y++ = pixel[c];
            }
        }
    }
}

static void run_upsample_dx(const kernel_args *a)
{
    const real *dy = a->input[0];
    real *dx = a->output[0];
    const shape *from = &a->node->output[0]->shape, *to = &a->node->input[0]->shape;
    int64_t channels = to->dim[3], count = shape_count(from);
    for (int64_t at = 0; at < count; at++) {
        int64_t c = at % channels, v = at / channels % from->dim[2];
        int64_t h = at / channels / from->dim[2] % from->dim[1], n = at / channels / from->dim[2] / from->dim[1];
        double sum = 0;
        for (int64_t i = 0; i < to->dim[1]; i++) {
            if (i * from->dim[1] / to->dim[1] != h) continue;
            for (int64_t j = 0; j < to->dim[2]; j++) {
                if (j * from->dim[2] / to->dim[2] != v) continue;
                sum += (double)dy[((n * to->dim[1] + i) * to->dim[2] + j) * channels + c];
            }
        }
        dx[at] = (real)sum;
    }
}

static void run_timestep_embedding(const kernel_args *a)
{
    const real *t = a->input[0];
    real *y = a->output[0];
    const node_attr *attr = &a->node->attr;
    const shape *s = &a->node->output[0]->shape;
    int64_t half = s->dim[1] / 2, sin_at = attr->flip_sin_to_cos ? half : 0, cos_at = half - sin_at;
    for (int64_t n = 0; n < s->dim[0]; n++) {
        for (int64_t i = 0; i < half; i++) {
            double frequency = exp(-log(10000.0) * (double)i / ((double)half - (double)attr->freq_shift));
            y[n * 2 * half + sin_at + i] = (real)sin((double)t[n] * frequency);
            y[n * 2 * half + cos_at + i] = (real)cos((double)t[n] * frequency);
        }
    }
}

static void run_embedding(const kernel_args *a)
{
    const int32_t *ids = a->input[0];
    const real *table = a->input[1], *position = a->input[2];
    real *y = a->output[0];
    const shape *s = &a->node->output[0]->shape;
    int64_t tokens = s->dim[1], width = s->dim[2];
    for (int64_t r = 0; r < s->dim[0] * tokens; r++) {
        assert(ids[r] >= 0);
        const bool known = ids[r] < a->node->input[1]->shape.dim[0];
        for (int64_t c = 0; c < width; c++) {
            double sum = known ? (double)table[ids[r] * width + c] : 0;
            if (position != NULL) sum += (double)position[r % tokens * width + c];
            y[r * width + c] = (real)sum;
        }
    }
}

static void run_add_rows(const kernel_args *a)
{
    const real *x = a->input[0], *rows = a->input[2];
    const int32_t *ids = a->input[1];
    real *y = a->output[0];
    const shape *s = &a->node->input[2]->shape;
    int64_t tokens = shape_count(&a->node->input[1]->shape), width = s->dim[1];
    for (int64_t t = 0; t < tokens; t++) {
        int64_t row = ids[t] - a->node->attr.from;
        bool known = row >= 0 && row < s->dim[0];
        for (int64_t c = 0; c < width; c++)
            y[t * width + c] = (real)((double)x[t * width + c] + (known ? (double)rows[row * width + c] : 0));
    }
}

static void run_add_rows_dw(const kernel_args *a)
{
    const real *dy = a->input[0], *add = a->input[2];
    const int32_t *ids = a->input[1];
    real *dw = a->output[0];
    const shape *s = &a->node->output[0]->shape;
    int64_t tokens = shape_count(&a->node->input[1]->shape), width = s->dim[1];
    for (int64_t row = 0; row < s->dim[0]; row++) {
        for (int64_t c = 0; c < width; c++) {
            double sum = add != NULL ? (double)add[row * width + c] : 0;
            for (int64_t t = 0; t < tokens; t++)
                if (ids[t] - a->node->attr.from == row) sum += (double)dy[t * width + c];
            dw[row * width + c] = (real)sum;
        }
    }
}

static void run_select_rows(const kernel_args *a)
{
    const real *x = a->input[0];
    const int32_t *index = a->input[1];
    real *y = a->output[0];
    const shape *s = &a->node->input[0]->shape;
    int64_t width = s->dim[2];
    for (int64_t n = 0; n < s->dim[0]; n++) {
        assert(index[n] >= 0 && index[n] < s->dim[1]);
        for (int64_t c = 0; c < width; c++) y[n * width + c] = x[(n * s->dim[1] + index[n]) * width + c];
    }
}

static void run_select_rows_dx(const kernel_args *a)
{
    const real *dy = a->input[0];
    const int32_t *index = a->input[1];
    real *dx = a->output[0];
    const shape *s = &a->node->output[0]->shape;
    int64_t width = s->dim[2];
    for (int64_t n = 0; n < s->dim[0]; n++)
        for (int64_t t = 0; t < s->dim[1]; t++)
            for (int64_t c = 0; c < width; c++)
                dx[(n * s->dim[1] + t) * width + c] = t == index[n] ? dy[n * width + c] : 0;
}

const kernel REF(add_spatial) = {.run = run_add_spatial};
const kernel REF(sum_spatial) = {.run = run_sum_spatial};
const kernel REF(concat) = {.run = run_concat};
const kernel REF(slice) = {.run = run_slice};
const kernel REF(upsample) = {.run = run_upsample};
const kernel REF(upsample_dx) = {.run = run_upsample_dx};
const kernel REF(timestep_embedding) = {.run = run_timestep_embedding};
const kernel REF(embedding) = {.run = run_embedding};
const kernel REF(add_rows) = {.run = run_add_rows};
const kernel REF(add_rows_dw) = {.run = run_add_rows_dw};
const kernel REF(select_rows) = {.run = run_select_rows};
const kernel REF(select_rows_dx) = {.run = run_select_rows_dx};
