/* attention and its gradient: on matrix units where they serve, else in f32 arithmetic. */
#include "backend/cuda/kernels.h"
#include "base/mem.h"

typedef struct attention {
    attention_shape shape;
    gpu_type type;
    bool mma;
    int parts;       /* of dk and dv */
    size_t parts_at; /* in scratch, behind delta */
} attention;

/* Of attention and attention_grad. */
static leco_status plan_attention(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    const node *n = at->node;
    const bool gradient = n->op == OP_ATTENTION_GRAD;
    const shape *q = &n->input[0]->shape, *k = &n->input[1]->shape;
    attention *a = mem_calloc(1, sizeof *a);
    if (!a) return error_memory(err, sizeof *a, n->name);
    plan->state = a;
    a->type = gpu_type_of(at->compute);
    a->shape = (attention_shape){.batch = q->dim[0],
                                 .queries = shape_rows(q) / q->dim[0],
                                 .keys = shape_rows(k) / k->dim[0],
                                 .heads = n->attr.heads,
                                 .width = shape_last(q) / n->attr.heads,
                                 .scale = n->attr.scale,
                                 .causal = n->attr.causal};
    if (a->shape.width > ATTENTION_MOST_WIDTH)
        return error_set(err, LECO_UNSUPPORTED, "%s: attention heads of %lld channels: this device has kernels for %d",
                         n->name, (long long)a->shape.width, ATTENTION_MOST_WIDTH);
    a->mma = attention_mma_serves(a->type, &a->shape, gradient);
    if (!gradient) return LECO_OK;
    plan->scratch_bytes = (size_t)(shape_rows(q) * n->attr.heads) * sizeof(float); /* delta */
    a->parts = a->mma ? attention_mma_parts(&a->shape) : 1;
    if (a->parts == 1) return LECO_OK;
    a->parts_at = scratch_after(plan->scratch_bytes);
    plan->scratch_bytes = a->parts_at + (size_t)(2 * a->parts * shape_count(k)) * sizeof(float);
    return LECO_OK;
}

static void run_forward(const kernel_args *args)
{
    const attention *a = args->plan->state;
    if (a->mma)
        launch_attention_mma(a->type, &a->shape, args->input[0], args->input[1], args->input[2], args->output[0],
                             args->output[1]);
    else
        launch_attention(a->type, &a->shape, args->input[0], args->input[1], args->input[2], args->output[0],
                         args->output[1]);
}

static void run_gradient(const kernel_args *args)
{
    const attention *a = args->plan->state;
    const attention_tensors t = {.q = args->input[0],
                                 .k = args->input[1],
                                 .v = args->input[2],
                                 .o = args->input[3],
                                 .lse = args->input[4],
                                 .dout = args->input[5],
                                 .delta = args->scratch,
                                 .dq = args->output[0],
                                 .dk = args->output[1],
                                 .dv = args->output[2],
                                 .parts = (float *)((char *)args->scratch + a->parts_at),
                                 .part_count = a->parts};
    launch_attention_delta(a->type, &a->shape, &t);
    if (a->mma)
        launch_attention_mma_grad(a->type, &a->shape, &t);
    else
        launch_attention_grad(a->type, &a->shape, &t);
}

static void release(kernel_plan *plan)
{
    mem_free(plan->state);
    plan->state = NULL;
}

static const char *chosen(const kernel_plan *plan)
{
    return ((const attention *)plan->state)->mma ? "matrix units" : "f32 arithmetic";
}

const kernel cuda_attention = {.plan = plan_attention, .run = run_forward, .release = release, .chosen = chosen};
const kernel cuda_attention_grad = {.plan = plan_attention, .run = run_gradient, .release = release, .chosen = chosen};
