/* Operators that broadcast or sum over positions: add_spatial, sum_spatial, upsample_dx. */
#include "backend/cpu/isa/loop.h"

/* ---- add_spatial ---- */

static int add_spatial_threads(const kernel_args *args)
{
    return parallel_threads(size_count(args->node->output[0]));
}

typedef struct row_sum {
    const void *x, *v;
    void *y;
    size_t x_at, v_at, y_at;
    dtype type;
} row_sum;

INLINE void add_spatial_body(const void *context, size_t i, size_t count)
{
    const row_sum *p = context;
    vec x = vec_load_part(p->x, p->type, p->x_at + i, count), v = vec_load_part(p->v, p->type, p->v_at + i, count);
    vec_store_part(p->y, p->type, p->y_at + i, x + v, count);
}

INLINE void add_spatial_part(const kernel_args *args, dtype type, int part, int parts)
{
    const tensor *y = args->node->output[0];
    size_t width = size_last(y), rows = size_rows(y), samples = size_dim(y, 0), from, to;
    parallel_range(rows, 1, part, parts, &from, &to);
    for (size_t r = from; r < to; r++) {
        row_sum p = {.x = args->input[0], .v = args->input[1], .y = args->output[0], .type = type};
        p.x_at = p.y_at = r * width;
        p.v_at = r / (rows / samples) * width;
        loop_each(0, width, add_spatial_body, &p);
    }
}

ISA_KERNEL(add_spatial)

/* ---- sum_spatial ---- */

static int sum_spatial_threads(const kernel_args *args)
{
    return parallel_threads(size_count(args->node->input[0]));
}

/* Rows are summed in blocks, so that a large image does not swamp the f32 accumulator. */
INLINE vec column_sum(const void *x, dtype type, size_t at, size_t stride, size_t rows, size_t count)
{
    vec total = vec_zero();
    for (size_t r = 0; r < rows;) {
        size_t end = r + 64 < rows ? r + 64 : rows;
        vec sum = vec_zero();
        for (; r < end; r++) sum += vec_load_part(x, type, at + r * stride, count);
        total += sum;
    }
    return total;
}

INLINE void sum_spatial_part(const kernel_args *args, dtype type, int part, int parts)
{
    const tensor *x = args->node->input[0];
    size_t width = size_last(x), samples = size_dim(x, 0), rows = size_rows(x) / samples, from, to;
    size_t blocks = (width + VEC - 1) / VEC;
    float scale = args->node->attr.scale;
    parallel_range(samples * blocks, 1, part, parts, &from, &to);
    for (size_t k = from; k < to; k++) {
        size_t n = k / blocks, c = k % blocks * VEC, at = n * rows * width + c;
        if (c + VEC <= width) {
            vec sum = column_sum(args->input[0], type, at, width, rows, VEC);
            vec_store(args->output[0], type, n * width + c, scale * sum);
        } else {
            vec sum = column_sum(args->input[0], type, at, width, rows, width - c);
            vec_store_part(args->output[0], type, n * width + c, scale * sum, width - c);
        }
    }
}

ISA_KERNEL(sum_spatial)

/* ---- upsample_dx ---- */

static int upsample_dx_threads(const kernel_args *args)
{
    return parallel_threads(size_count(args->node->input[0]));
}

/* The first i in [0, large) whose source row floor(i * small / large) is at least s. */
INLINE size_t first_copy(size_t s, size_t small, size_t large)
{
    return (s * large + small - 1) / small;
}

typedef struct patch {
    const void *dy;
    void *dx;
    size_t dy_at, dx_at, rows, columns, row_stride, column_stride;
    dtype type;
} patch;

INLINE void upsample_dx_body(const void *context, size_t i, size_t count)
{
    const patch *p = context;
    vec sum = vec_zero();
    for (size_t r = 0; r < p->rows; r++)
        for (size_t c = 0; c < p->columns; c++)
            sum += vec_load_part(p->dy, p->type, p->dy_at + r * p->row_stride + c * p->column_stride + i, count);
    vec_store_part(p->dx, p->type, p->dx_at + i, sum, count);
}

INLINE void upsample_dx_part(const kernel_args *args, dtype type, int part, int parts)
{
    const tensor *dy = args->node->input[0], *dx = args->node->output[0];
    size_t height = size_dim(dy, 1), width = size_dim(dy, 2), channels = size_last(dy);
    size_t h = size_dim(dx, 1), w = size_dim(dx, 2), from, to;
    parallel_range(size_rows(dx), 1, part, parts, &from, &to);
    for (size_t k = from; k < to; k++) {
        size_t x = k % w, y = k / w % h, n = k / w / h;
        size_t top = first_copy(y, h, height), left = first_copy(x, w, width);
        patch p = {.dy = args->input[0], .dx = args->output[0], .type = type};
        p.rows = first_copy(y + 1, h, height) - top;
        p.columns = first_copy(x + 1, w, width) - left;
        p.dy_at = ((n * height + top) * width + left) * channels;
        p.dx_at = k * channels;
        p.row_stride = width * channels;
        p.column_stride = channels;
        loop_each(0, channels, upsample_dx_body, &p);
    }
}

ISA_KERNEL(upsample_dx)
