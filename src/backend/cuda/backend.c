/* backend_cuda: NVIDIA cards. */
#include "backend/backend.h"

#include "backend/cuda/kernels.h"
#include "backend/cuda/product.h"

/* bf16 begins with Ampere. */
static bool supports(dtype compute)
{
    return compute == DTYPE_F32 || compute == DTYPE_F16 || (compute == DTYPE_BF16 && gpu_capability() >= 80);
}

static const kernel *kernel_for(op_code op, dtype compute)
{
#define KERNEL(code, name, ...) [OP_##code] = &cuda_##name,
    static const kernel *const all[OP_COUNT] = {
#define OP KERNEL
#include "graph/ops.def"
#undef OP
    };
    return supports(compute) && all[op]->run != NULL ? all[op] : NULL;
}

static dtype preferred_dtype(void)
{
    return supports(DTYPE_BF16) ? DTYPE_BF16 : DTYPE_F16;
}

/* ---- the card's own matrix rate ---- */

typedef struct roof {
    gpu_product product;
    char *a, *b, *y, *scratch;
} roof;

static void multiply(void *with)
{
    const roof *r = with;
    gpu_product_run(&r->product, r->a, r->b, NULL, NULL, r->y, r->scratch);
}

/* Of one large product: what any model's are less than. */
static double matrix_rate(dtype compute)
{
    enum { SIDE = 8192 };
    const size_t bytes = (size_t)SIDE * SIDE * dtype_size(compute);
    roof r = {.product = {.rows = SIDE, .columns = SIDE, .depth = SIDE, .b_transposed = true, .scale = 1.0f}};
    r.product.type = r.product.out = gpu_type_of(compute);
    double seconds = 0;
    if (gpu_product_plan(&r.product, NULL) == LECO_OK) {
        r.a = gpu_memory.alloc(3 * bytes + r.product.scratch_bytes);
        if (r.a) {
            r.b = r.a + bytes;
            r.y = r.b + bytes;
            r.scratch = r.y + bytes;
            /* Numbers like a model's: on zeros a card is faster. */
            launch_noise(gpu_type_of(compute), r.a, 2 * (int64_t)SIDE * SIDE);
            multiply(&r);
            seconds = gpu_seconds(multiply, &r, compute == DTYPE_F32 ? 3 : 12);
            gpu_memory.free(r.a);
        }
    }
    gpu_product_release(&r.product);
    return seconds > 0 ? 2e-9 * SIDE * SIDE * SIDE / seconds : 0;
}

const backend backend_cuda = {.name = "cuda",
                              .memory = &gpu_memory,
                              .open = gpu_open,
                              .supports = supports,
                              .kernel_for = kernel_for,
                              .preferred_dtype = preferred_dtype,
                              .matrix_rate = matrix_rate,
                              .device_name = gpu_name,
                              .recorder = &gpu_recorder,
                              .stopwatch = &gpu_stopwatch};
