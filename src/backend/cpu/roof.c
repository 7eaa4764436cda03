/* The machine's own matrix rate: what everything else is measured against. */
#include <string.h>

#include "backend/cpu/kernels.h"
#include "backend/cpu/primitive.h"
#include "base/cpu.h"
#include "base/mem.h"

static double rate_of(dtype compute, int64_t rows, int64_t depth, int64_t columns)
{
    matmul_spec s = {.rows = rows, .depth = depth, .columns = columns, .type = compute, .transposed = true, .alpha = 1};
    primitive p;
    if (primitive_plan_matmul(&p, &s, NULL) != LECO_OK || primitive_make(&p, NULL) != LECO_OK) return 0;
    size_t size = dtype_size(compute), x = (size_t)(rows * depth) * size, w = (size_t)(depth * columns) * size;
    size_t y = (size_t)(rows * columns) * size;
    char *memory = mem_aligned(x + w + y + p.scratch_bytes + 256);
    double best = 0;
    if (memory) {
        memset(memory, 0, x + w + y + p.scratch_bytes + 256);
        primitive_set(&p, PRIMITIVE_SRC, memory);
        primitive_set(&p, PRIMITIVE_WEIGHTS, memory + (x + 63) / 64 * 64);
        primitive_set(&p, PRIMITIVE_DST, memory + (x + w + 127) / 64 * 64);
        primitive_set(&p, PRIMITIVE_SCRATCH, memory + (x + w + y + 191) / 64 * 64);
        for (int i = 0; i < 12; i++) {
            double start = cpu_seconds();
            primitive_run(&p);
            double rate = 2e-9 * (double)rows * (double)depth * (double)columns / (cpu_seconds() - start);
            if (rate > best) best = rate;
        }
    }
    mem_free_aligned(memory);
    primitive_release(&p);
    return best;
}

double cpu_matrix_rate(dtype compute)
{
    double a = rate_of(compute, 4096, 320, 2560), b = rate_of(compute, 1024, 1280, 1280);
    return a > b ? a : b;
}
