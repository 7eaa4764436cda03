#include "backend/cpu/move.h"

#include <string.h>

#include "backend/cpu/parallel.h"

static float get(const void *base, dtype type, size_t i)
{
    return type == DTYPE_BF16 ? bf16_to_f32(((const bf16 *)base)[i]) : ((const float *)base)[i];
}

static void put(void *base, dtype type, size_t i, float value)
{
    if (type == DTYPE_BF16)
        ((bf16 *)base)[i] = bf16_from_f32(value);
    else
        ((float *)base)[i] = value;
}

void move_bytes(void *dst, const void *src, size_t bytes)
{
    if (dst == src) return;
    size_t piece = 1u << 16;
    int threads = parallel_threads(bytes / 4);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (size_t at = 0; at < bytes; at += piece)
        memcpy((char *)dst + at, (const char *)src + at, bytes - at < piece ? bytes - at : piece);
}

void move_scaled(void *dst, dtype type, const void *src, size_t count, float scale)
{
    int threads = parallel_threads(count);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (size_t i = 0; i < count; i++) put(dst, type, i, scale * ((const float *)src)[i]);
}

void move_start(void *y, const void *add, const void *bias, dtype type, size_t rows, size_t columns)
{
    if (!bias) {
        move_bytes(y, add, rows * columns * dtype_size(type));
        return;
    }
    int threads = parallel_threads(rows * columns);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) {
            float start = add ? get(add, type, r * columns + c) : 0.0f;
            put(y, type, r * columns + c, start + get(bias, type, c));
        }
}

void move_sum(void *y, const void *a, const void *b, dtype type, size_t count)
{
    int threads = parallel_threads(count);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (size_t i = 0; i < count; i++) put(y, type, i, get(a, type, i) + get(b, type, i));
}
