/* Operators that only move elements (concat, slice, upsample, select_rows with its gradient), and those that look up
 * or compute a few: embedding, add_rows with its gradient, and timestep_embedding. They are bound by memory, so one
 * build serves all processors. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "backend/cpu/kernels.h"
#include "backend/cpu/parallel.h"

static size_t row_bytes(const tensor *t)
{
    return (size_t)shape_last(&t->shape) * dtype_size(t->type);
}

static size_t row_count(const tensor *t)
{
    return (size_t)shape_rows(&t->shape);
}

static int threads_for(const tensor *t)
{
    return parallel_threads((size_t)shape_count(&t->shape));
}

static void concat_run(const kernel_args *args)
{
    const tensor *y = args->node->output[0];
    size_t a = row_bytes(args->node->input[0]), b = row_bytes(args->node->input[1]), rows = row_count(y);
    int threads = threads_for(y);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (size_t r = 0; r < rows; r++) {
        char *to = (char *)args->output[0] + r * (a + b);
        memcpy(to, (const char *)args->input[0] + r * a, a);
        memcpy(to + a, (const char *)args->input[1] + r * b, b);
    }
}

static void slice_run(const kernel_args *args)
{
    const tensor *y = args->node->output[0];
    size_t from = (size_t)args->node->attr.from * dtype_size(y->type), rows = row_count(y);
    size_t bytes = row_bytes(y), stride = row_bytes(args->node->input[0]);
    int threads = threads_for(y);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (size_t r = 0; r < rows; r++)
        memcpy((char *)args->output[0] + r * bytes, (const char *)args->input[0] + r * stride + from, bytes);
}

static void upsample_run(const kernel_args *args)
{
    const tensor *x = args->node->input[0], *y = args->node->output[0];
    size_t h = (size_t)x->shape.dim[1], w = (size_t)x->shape.dim[2], bytes = row_bytes(y);
    size_t height = (size_t)y->shape.dim[1], width = (size_t)y->shape.dim[2], rows = row_count(y);
    int threads = threads_for(y);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (size_t r = 0; r < rows; r++) {
        size_t j = r % width, i = r / width % height, n = r / width / height;
        size_t from = (n * h + i * h / height) * w + j * w / width;
        memcpy((char *)args->output[0] + r * bytes, (const char *)args->input[0] + from * bytes, bytes);
    }
}

static void select_rows_run(const kernel_args *args)
{
    const tensor *x = args->node->input[0];
    size_t samples = (size_t)x->shape.dim[0], rows = (size_t)x->shape.dim[1], bytes = row_bytes(x);
    const int32_t *index = args->input[1];
    for (size_t n = 0; n < samples; n++) {
        assert(index[n] >= 0 && (size_t)index[n] < rows);
        size_t from = n * rows + (size_t)index[n];
        memcpy((char *)args->output[0] + n * bytes, (const char *)args->input[0] + from * bytes, bytes);
    }
}

static void select_rows_dx_run(const kernel_args *args)
{
    const tensor *dx = args->node->output[0];
    const size_t samples = (size_t)dx->shape.dim[0], rows = (size_t)dx->shape.dim[1], bytes = row_bytes(dx);
    const int32_t *index = args->input[1];
    memset(args->output[0], 0, samples * rows * bytes);
    for (size_t n = 0; n < samples; n++) {
        assert(index[n] >= 0 && (size_t)index[n] < rows);
        const size_t to = n * rows + (size_t)index[n];
        memcpy((char *)args->output[0] + to * bytes, (const char *)args->input[0] + n * bytes, bytes);
    }
}

static float load(const void *values, size_t at, bool narrow)
{
    return narrow ? bf16_to_f32(((const bf16 *)values)[at]) : ((const float *)values)[at];
}

static void store(void *values, size_t at, bool narrow, float value)
{
    if (narrow)
        ((bf16 *)values)[at] = bf16_from_f32(value);
    else
        ((float *)values)[at] = value;
}

static void embedding_run(const kernel_args *args)
{
    const tensor *ids = args->node->input[0], *y = args->node->output[0];
    size_t rows = (size_t)shape_count(&ids->shape), length = (size_t)ids->shape.dim[1];
    size_t width = (size_t)shape_last(&y->shape);
    const int32_t *id = args->input[0];
    bool narrow = y->type == DTYPE_BF16;
    for (size_t r = 0; r < rows; r++) {
        assert(id[r] >= 0);
        const bool known = id[r] < args->node->input[1]->shape.dim[0];
        size_t from = (size_t)id[r] * width, at = r % length * width;
        for (size_t d = 0; d < width; d++) {
            float sum = known ? load(args->input[1], from + d, narrow) : 0;
            if (args->input[2]) sum += load(args->input[2], at + d, narrow);
            store(args->output[0], r * width + d, narrow, sum);
        }
    }
}

static void add_rows_run(const kernel_args *args)
{
    const tensor *x = args->node->input[0], *rows = args->node->input[2];
    const size_t tokens = row_count(x), width = (size_t)shape_last(&x->shape);
    const int32_t *id = args->input[1];
    const bool narrow = x->type == DTYPE_BF16;
    if (args->output[0] != args->input[0]) memcpy(args->output[0], args->input[0], tokens * row_bytes(x));
    for (size_t t = 0; t < tokens; t++) {
        const int64_t row = id[t] - args->node->attr.from;
        if (row < 0 || row >= rows->shape.dim[0]) continue;
        const float *from = (const float *)args->input[2] + (size_t)row * width;
        for (size_t d = t * width, i = 0; i < width; d++, i++)
            store(args->output[0], d, narrow, load(args->output[0], d, narrow) + from[i]);
    }
}

static void add_rows_dw_run(const kernel_args *args)
{
    const tensor *dy = args->node->input[0], *dw = args->node->output[0];
    const size_t tokens = row_count(dy), width = (size_t)shape_last(&dy->shape);
    const int32_t *id = args->input[1];
    const bool narrow = dy->type == DTYPE_BF16;
    const size_t bytes = (size_t)shape_count(&dw->shape) * sizeof(float);
    if (!args->input[2])
        memset(args->output[0], 0, bytes);
    else if (args->input[2] != args->output[0])
        memcpy(args->output[0], args->input[2], bytes);
    for (size_t t = 0; t < tokens; t++) {
        const int64_t row = id[t] - args->node->attr.from;
        if (row < 0 || row >= dw->shape.dim[0]) continue;
        float *to = (float *)args->output[0] + (size_t)row * width;
        for (size_t i = 0; i < width; i++) to[i] += load(args->input[0], t * width + i, narrow);
    }
}

static void timestep_embedding_run(const kernel_args *args)
{
    const tensor *y = args->node->output[0];
    size_t width = (size_t)shape_last(&y->shape), half = width / 2, rows = row_count(y);
    const float *t = args->input[0];
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < half; i++) {
            double frequency = exp(-log(10000.0) * (double)i / ((double)half - (double)args->node->attr.freq_shift));
            double angle = (double)t[r] * frequency;
            size_t first = r * width + i, second = first + half;
            size_t sine = args->node->attr.flip_sin_to_cos ? second : first;
            size_t cosine = args->node->attr.flip_sin_to_cos ? first : second;
            if (y->type == DTYPE_BF16) {
                ((bf16 *)args->output[0])[sine] = bf16_from_f32((float)sin(angle));
                ((bf16 *)args->output[0])[cosine] = bf16_from_f32((float)cos(angle));
            } else {
                ((float *)args->output[0])[sine] = (float)sin(angle);
                ((float *)args->output[0])[cosine] = (float)cos(angle);
            }
        }
}

const cpu_kernel cpu_concat = {.once = {.run = concat_run}};
const cpu_kernel cpu_slice = {.once = {.run = slice_run}};
const cpu_kernel cpu_upsample = {.once = {.run = upsample_run}};
const cpu_kernel cpu_select_rows = {.once = {.run = select_rows_run}};
const cpu_kernel cpu_select_rows_dx = {.once = {.run = select_rows_dx_run}};
const cpu_kernel cpu_embedding = {.once = {.run = embedding_run}};
const cpu_kernel cpu_add_rows = {.once = {.run = add_rows_run}};
const cpu_kernel cpu_add_rows_dw = {.once = {.run = add_rows_dw_run}};
const cpu_kernel cpu_timestep_embedding = {.once = {.run = timestep_embedding_run}};
