#include "backend/cpu/narrow.h"

#include <math.h>
#include <string.h>

#include "backend/cpu/parallel.h"
#include "base/cpu.h"
#include "base/mem.h"

#define LARGEST 127.0f

static size_t rows_of(const weight *w)
{
    return (size_t)w->shape.dim[0];
}

static size_t width_of(const weight *w)
{
    return (size_t)shape_count(&w->shape) / rows_of(w);
}

/* A form: scale [rows] f32, and behind it, aligned, value [rows,width]. */
static size_t scales_bytes(size_t rows)
{
    return (rows * sizeof(float) + MEM_ALIGNMENT - 1) / MEM_ALIGNMENT * MEM_ALIGNMENT;
}

leco_status narrow_want(weight *w, const device_memory *m, weight_form **out, leco_error *err)
{
    static const char key[] = "narrow";
    return weight_want(w, m, key, sizeof key, scales_bytes(rows_of(w)) + (size_t)shape_count(&w->shape), out, err);
}

static void narrow_row(const float *from, size_t width, float *scale, int8_t *to)
{
    float largest = 0;
    for (size_t c = 0; c < width; c++) largest = fmaxf(largest, fabsf(from[c]));
    *scale = largest / LARGEST;
    const float inverse = largest > 0 ? LARGEST / largest : 0;
    for (size_t c = 0; c < width; c++) to[c] = (int8_t)lrintf(from[c] * inverse);
}

leco_status narrow_fill(const weight *w, weight_form *f, leco_error *err)
{
    const size_t rows = rows_of(w), width = width_of(w);
    if (f->data && f->version == w->version) return LECO_OK;
    float *row = mem_calloc(width, sizeof *row);
    if (!row) return error_memory(err, width * sizeof *row, w->name);
    leco_status status = f->data ? LECO_OK : weight_take(w, f, err);
    float *scale = f->data;
    int8_t *value = status == LECO_OK ? (int8_t *)f->data + scales_bytes(rows) : NULL;
    for (size_t r = 0; r < rows && value; r++) {
        const char *from = (const char *)w->data + r * width * dtype_size(w->type);
        dtype_convert(row, DTYPE_F32, from, w->type, width);
        narrow_row(row, width, &scale[r], value + r * width);
    }
    mem_free(row);
    if (status == LECO_OK) f->version = w->version;
    return status;
}

/* The same loops for each instruction set that makes a difference; `target` is the compiler's name of it. */
#define EXPAND(level, target)                                                                                          \
    target static void expand_bf16_##level(bf16 *to, const int8_t *from, size_t width, float scale)                    \
    {                                                                                                                  \
        _Pragma("omp simd") for (size_t c = 0; c < width; c++) to[c] = bf16_from_f32(scale * (float)from[c]);          \
    }                                                                                                                  \
    target static void expand_f32_##level(float *to, const int8_t *from, size_t width, float scale)                    \
    {                                                                                                                  \
        _Pragma("omp simd") for (size_t c = 0; c < width; c++) to[c] = scale * (float)from[c];                         \
    }

EXPAND(plain, )
#if defined(__x86_64__)
EXPAND(avx2, __attribute__((target("avx2"))))
EXPAND(avx512, __attribute__((target("avx512f,avx512bw,avx512vl,prefer-vector-width=512"))))
#endif

typedef struct expanding {
    void (*bf16)(bf16 *to, const int8_t *from, size_t width, float scale);
    void (*f32)(float *to, const int8_t *from, size_t width, float scale);
} expanding;

static expanding expanding_here(void)
{
#if defined(__x86_64__)
    if (cpu_detect() >= CPU_AVX512) return (expanding){expand_bf16_avx512, expand_f32_avx512};
    if (cpu_detect() >= CPU_AVX2) return (expanding){expand_bf16_avx2, expand_f32_avx2};
#endif
    return (expanding){expand_bf16_plain, expand_f32_plain};
}

void narrow_expand(void *dst, dtype type, const weight *w, const void *data)
{
    const size_t rows = rows_of(w), width = width_of(w);
    const float *scale = data;
    const int8_t *value = (const int8_t *)data + scales_bytes(rows);
    const expanding by = expanding_here();
    const int threads = parallel_threads(rows * width);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (size_t r = 0; r < rows; r++)
        if (type == DTYPE_BF16)
            by.bf16((bf16 *)dst + r * width, value + r * width, width, scale[r]);
        else
            by.f32((float *)dst + r * width, value + r * width, width, scale[r]);
}
