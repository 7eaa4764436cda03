#include "picture/resample.h"

#include <math.h>
#include <stdbool.h>

#include "base/mem.h"

#define LOBES 3.0
enum { WEIGHT_BITS = 22 }; /* weights are whole numbers of 2^-22: 8 bits and the sum of all fit an int32 */

static double sinc(double x)
{
    const double pi = 3.14159265358979323846;
    return x == 0 ? 1 : sin(x * pi) / (x * pi);
}

static double lanczos(double x)
{
    return x >= -LOBES && x < LOBES ? sinc(x) * sinc(x / LOBES) : 0;
}

/* What each pixel of a scaled line is made of: `count` pixels of the old line from `first` on. */
typedef struct filter {
    int *first, *count; /* [length] */
    int32_t *weight;    /* [length, most] */
    size_t most;
} filter;

static void filter_free(filter *f)
{
    mem_free(f->first);
    mem_free(f->count);
    mem_free(f->weight);
}

static int clamp(int x, int low, int high)
{
    return x < low ? low : x > high ? high : x;
}

/* One pixel's weights, in `exact` [most] before they are rounded. */
static void weigh(filter *f, int at, double center, double stretch, int size, double *exact)
{
    const double support = LOBES * stretch;
    const int first = clamp((int)(center - support + 0.5), 0, size);
    const int count = clamp((int)(center + support + 0.5), 0, size) - first;
    double sum = 0;
    for (int i = 0; i < count; i++) {
        exact[i] = lanczos((i + first - center + 0.5) * (1 / stretch));
        sum += exact[i];
    }
    for (int i = 0; i < count; i++) {
        const double w = (sum != 0 ? exact[i] / sum : exact[i]) * (1 << WEIGHT_BITS);
        f->weight[(size_t)at * f->most + (size_t)i] = (int32_t)(w < 0 ? w - 0.5 : w + 0.5);
    }
    f->first[at] = first;
    f->count[at] = count;
}

/* From [low, high) of a line of `size` pixels to `length` ones. Pillow has these two as floats. */
static leco_status filter_create(int size, float low, float high, int length, filter *f, leco_error *err)
{
    const double scale = (double)(high - low) / length, stretch = scale > 1 ? scale : 1;
    const size_t n = (size_t)length;
    *f = (filter){.most = (size_t)ceil(LOBES * stretch) * 2 + 1};
    f->first = mem_calloc(n, sizeof *f->first);
    f->count = mem_calloc(n, sizeof *f->count);
    f->weight = mem_calloc(n * f->most, sizeof *f->weight);
    double *exact = mem_calloc(f->most, sizeof *exact);
    const bool made = f->first && f->count && f->weight && exact;
    for (int i = 0; made && i < length; i++) weigh(f, i, (double)low + (i + 0.5) * scale, stretch, size, exact);
    mem_free(exact);
    if (made) return LECO_OK;
    filter_free(f);
    return error_memory(err, n * f->most * sizeof *f->weight, "a filter");
}

static uint8_t rounded(int32_t sum)
{
    const int32_t value = (sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS;
    return (uint8_t)clamp(value, 0, 255);
}

/* A line of `f`'s length into `to`; neighbours in a line are `step` bytes apart. */
static void scale_line(const filter *f, int length, const uint8_t *from, size_t from_step, uint8_t *to, size_t to_step)
{
    for (int i = 0; i < length; i++, to += to_step) {
        const int32_t *weight = f->weight + (size_t)i * f->most;
        const uint8_t *at = from + (size_t)f->first[i] * from_step;
        int32_t sum[3] = {0};
        for (int k = 0; k < f->count[i]; k++, at += from_step)
            for (int c = 0; c < 3; c++) sum[c] += at[c] * weight[k];
        for (int c = 0; c < 3; c++) to[c] = rounded(sum[c]);
    }
}

static leco_status scale_rows(const image *from, const filter *f, int width, image *out, leco_error *err)
{
    LECO_TRY(image_create(width, from->height, out, err));
    const size_t old = (size_t)from->width * 3, fresh = (size_t)width * 3;
    for (size_t y = 0; y < (size_t)from->height; y++)
        scale_line(f, width, from->rgb + y * old, 3, out->rgb + y * fresh, 3);
    return LECO_OK;
}

static leco_status scale_columns(const image *from, const filter *f, int height, image *out, leco_error *err)
{
    LECO_TRY(image_create(from->width, height, out, err));
    const size_t stride = (size_t)from->width * 3;
    for (size_t x = 0; x < (size_t)from->width; x++)
        scale_line(f, height, from->rgb + 3 * x, stride, out->rgb + 3 * x, stride);
    return LECO_OK;
}

leco_status image_fit(const image *from, int width, int height, image *out, leco_error *err)
{
    const double w = from->width, h = from->height, shape = (double)width / height;
    double part_w = w, part_h = h;
    if (w / h > shape)
        part_w = shape * h;
    else if (w / h < shape)
        part_h = w / shape;
    const double left = (w - part_w) * 0.5, top = (h - part_h) * 0.5;
    filter rows, columns;
    image middle;
    *out = (image){0};
    if (width <= 0 || height <= 0) return image_create(width, height, out, err);
    LECO_TRY(filter_create(from->width, (float)left, (float)(left + part_w), width, &rows, err));
    leco_status status = scale_rows(from, &rows, width, &middle, err);
    filter_free(&rows);
    LECO_TRY(status);
    status = filter_create(from->height, (float)top, (float)(top + part_h), height, &columns, err);
    if (status == LECO_OK) {
        status = scale_columns(&middle, &columns, height, out, err);
        filter_free(&columns);
    }
    image_free(&middle);
    return status;
}
