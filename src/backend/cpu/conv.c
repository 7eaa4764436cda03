/* conv2d and its data gradient are computed in one of four ways:
 *
 * PRODUCT: 1x1 with stride 1 is a linear over [N H W, C].
 *
 * DIRECT: oneDNN's convolution, weights packed as it likes. The data gradient of stride 1 is the same with rotated,
 * swapped weights, which is faster than the primitive made for it (docs/kernels.md).
 *
 * BACKWARD: oneDNN's data gradient, for stride 2.
 *
 * GATHER: windows are gathered into rows, a block at a time, for a product: where oneDNN has no good implementation. */
#include <string.h>

#include "backend/cpu/gather.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/move.h"
#include "backend/cpu/product.h"
#include "backend/cpu/repack.h"
#include "base/cpu.h"
#include "base/mem.h"

typedef struct conv {
    enum { CONV_PRODUCT, CONV_DIRECT, CONV_BACKWARD, CONV_GATHER } kind;
    product product;
    primitive primitive;
    gather gather;
    bool gathered;    /* whatever oneDNN has: for tests */
    bool rotated;     /* weights are turned by half a turn and swapped */
    repack repack;    /* of a weight that is a param */
    size_t packed_at; /* where it goes in scratch */
    int bias;         /* index among the inputs, -1: none */
    int add;          /* index among the inputs, -1: none */
    dtype compute;
    size_t count; /* elements of the output */
} conv;

/* A packed weight is found again by this. */
typedef struct pack_key {
    int64_t rotated;
    compat_layout layout;
} pack_key;

/* out [I,O,kh,kw] rotated by half a turn from in [O,I,kh,kw]. */
static void rotate(void *out, const void *in, const shape *s, dtype type)
{
    int64_t o_count = s->dim[0], i_count = s->dim[1], taps = s->dim[2] * s->dim[3];
#pragma omp parallel for num_threads(cpu_threads())
    for (int64_t i = 0; i < i_count; i++)
        for (int64_t o = 0; o < o_count; o++)
            for (int64_t t = 0; t < taps; t++) {
                const int64_t to = (i * o_count + o) * taps + t, from = (o * i_count + i) * taps + taps - 1 - t;
                if (type == DTYPE_BF16)
                    ((bf16 *)out)[to] = ((const bf16 *)in)[from];
                else
                    ((float *)out)[to] = ((const float *)in)[from];
            }
}

/* The weight in its file's order, as the compute dtype: in place where possible, else in *copy (to be freed). */
static const void *plain_weight(const weight *w, dtype compute, void **copy)
{
    size_t count = (size_t)shape_count(&w->shape);
    if (w->type == compute && (uintptr_t)w->data % dtype_size(compute) == 0) return w->data;
    *copy = mem_aligned(count * dtype_size(compute));
    if (*copy) dtype_convert(*copy, compute, w->data, w->type, count);
    return *copy;
}

static leco_status want_packed(const conv *c, weight *w, const device_memory *m, weight_form **out, leco_error *err)
{
    pack_key key;
    memset(&key, 0, sizeof key);
    key.rotated = c->rotated;
    key.layout = c->primitive.weight_layout;
    return weight_want(w, m, &key, sizeof key, c->primitive.weight_bytes, out, err);
}

static leco_status pack(const conv *c, const weight *w, weight_form *f, leco_error *err)
{
    if (f->data) return LECO_OK;
    const size_t bytes = (size_t)shape_count(&w->shape) * dtype_size(c->compute);
    void *copy = NULL, *turned = c->rotated ? mem_aligned(bytes) : NULL;
    const void *plain = plain_weight(w, c->compute, &copy);
    leco_status status = LECO_OK;
    if (!plain || (c->rotated && !turned)) {
        status = error_memory(err, bytes, w->name);
    } else {
        if (c->rotated) rotate(turned, plain, &w->shape, c->compute);
        status = weight_take(w, f, err);
        if (status == LECO_OK) status = primitive_pack(&c->primitive, c->rotated ? turned : plain, f->data, err);
        if (status != LECO_OK) weight_give_back(f);
    }
    mem_free_aligned(copy);
    mem_free_aligned(turned);
    return status;
}

/* The convolution x -> y that the node is, or whose gradient it is. */
static conv_spec spec_of(const node *n, const tensor *x, const tensor *y, dtype compute)
{
    const shape *w = &n->input[1]->shape;
    conv_spec s = {.n = x->shape.dim[0], .h = x->shape.dim[1], .w = x->shape.dim[2], .in = x->shape.dim[3]};
    s.ho = y->shape.dim[1];
    s.wo = y->shape.dim[2];
    s.out = y->shape.dim[3];
    s.kh = w->dim[2];
    s.kw = w->dim[3];
    s.stride = n->attr.stride;
    s.type = compute;
    for (int i = 0; i < 2; i++) {
        s.before[i] = n->attr.pad[i];
        s.after[i] = n->attr.pad[i + 2];
    }
    return s;
}

static bool is_product(const conv_spec *s)
{
    return s->kh == 1 && s->kw == 1 && s->stride == 1 && !s->before[0] && !s->before[1] && !s->after[0] && !s->after[1];
}

/* The gradient of a convolution of stride 1 as a convolution; false where it would take negative padding. */
static bool turn_round(conv_spec *s)
{
    if (s->stride != 1) return false;
    conv_spec t = *s;
    t.h = s->ho;
    t.w = s->wo;
    t.in = s->out;
    t.ho = s->h;
    t.wo = s->w;
    t.out = s->in;
    int64_t taps[2] = {s->kh, s->kw};
    for (int i = 0; i < 2; i++) {
        t.before[i] = taps[i] - 1 - s->before[i];
        t.after[i] = taps[i] - 1 - s->after[i];
        if (t.before[i] < 0 || t.after[i] < 0) return false;
    }
    *s = t;
    return true;
}

/* ---- planning ---- */

/* The weight's form; or room in scratch, behind what is there, for a param that is packed at each run. */
static leco_status plan_weights(conv *c, const kernel_site *at, size_t packed_bytes, kernel_plan *plan, leco_error *err)
{
    const tensor *w = at->node->input[1];
    if (w->kind != TENSOR_WEIGHT) {
        c->packed_at = (plan->scratch_bytes + 63) / 64 * 64;
        plan->scratch_bytes = c->packed_at + packed_bytes;
        return LECO_OK;
    }
    return c->kind == CONV_GATHER ? gather_want(&c->gather, w->weight, at->memory, &plan->form[1], err)
                                  : want_packed(c, w->weight, at->memory, &plan->form[1], err);
}

static leco_status fall_back(conv *c, const kernel_site *at, const conv_spec *s, bool gradient, kernel_plan *plan,
                             leco_error *err)
{
    c->kind = CONV_GATHER;
    conv_spec spec = *s;
    spec.gradient = gradient;
    spec.bias = c->bias >= 0;
    spec.sum = c->add >= 0;
    LECO_TRY(gather_plan(&c->gather, &spec, err));
    plan->scratch_bytes = c->gather.scratch_bytes;
    return plan_weights(c, at, (size_t)shape_count(&at->node->input[1]->shape) * dtype_size(c->compute), plan, err);
}

/* Plans the primitive; *planned says whether there is one. Nothing but the want of an implementation is a reason to
 * gather: any other failure is one. */
static leco_status direct(conv *c, const conv_spec *s, bool *planned, leco_error *err)
{
    leco_error why = {0};
    *planned = false;
    if (c->gathered) return LECO_OK;
    leco_status status = primitive_plan_conv(&c->primitive, s, &why);
    *planned = status == LECO_OK;
    if (status == LECO_OK || status == LECO_UNSUPPORTED) return LECO_OK;
    return error_set(err, status, "%s", why.message);
}

static leco_status plan_forward(conv *c, const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    const node *n = at->node;
    conv_spec s = spec_of(n, n->input[0], n->output[0], c->compute);
    c->bias = n->input[2] ? 2 : -1;
    c->add = n->input[3] ? 3 : -1;
    bool planned;
    if (is_product(&s) && !c->gathered) {
        product_spec p = {.at = at, .rows = s.n * s.h * s.w, .bias = 2, .add = 3, .scale = 1.0f};
        c->kind = CONV_PRODUCT;
        return product_plan(&c->product, &p, plan, err);
    }
    if (c->bias >= 0) /* oneDNN reads it with aligned loads */
        LECO_TRY(weight_want_plain(n->input[2]->weight, at->memory, c->compute, MEM_ALIGNMENT, &plan->form[2], err));
    s.bias = c->bias >= 0;
    s.sum = c->add >= 0;
    LECO_TRY(direct(c, &s, &planned, err));
    if (!planned) return fall_back(c, at, &s, false, plan, err);
    c->kind = CONV_DIRECT;
    plan->scratch_bytes = c->primitive.scratch_bytes;
    return plan_weights(c, at, c->primitive.weight_bytes, plan, err);
}

static leco_status plan_gradient(conv *c, const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    const node *n = at->node;
    conv_spec s = spec_of(n, n->output[0], n->input[0], c->compute), original = s;
    c->bias = -1;
    c->add = n->input[2] ? 2 : -1;
    bool planned;
    if (is_product(&s) && !c->gathered) {
        product_spec p = {.at = at, .rows = s.n * s.h * s.w, .bias = -1, .add = 2, .scale = 1.0f};
        p.data_gradient = true;
        c->kind = CONV_PRODUCT;
        return product_plan(&c->product, &p, plan, err);
    }
    c->rotated = turn_round(&s);
    s.gradient = !c->rotated;
    s.sum = c->rotated && c->add >= 0;
    LECO_TRY(direct(c, &s, &planned, err));
    if (!planned) return fall_back(c, at, &original, true, plan, err);
    c->kind = c->rotated ? CONV_DIRECT : CONV_BACKWARD;
    plan->scratch_bytes = c->primitive.scratch_bytes;
    if (c->kind == CONV_BACKWARD && c->add >= 0) /* no sum in this primitive: it writes to scratch, behind its own */
        plan->scratch_bytes = (plan->scratch_bytes + 63) / 64 * 64 + c->count * dtype_size(c->compute);
    return plan_weights(c, at, c->primitive.weight_bytes, plan, err);
}

static leco_status plan_conv(const kernel_site *at, kernel_plan *plan, leco_error *err, bool gradient, bool gathered)
{
    const node *n = at->node;
    conv *c = mem_calloc(1, sizeof *c);
    if (!c) return error_memory(err, sizeof *c, n->name);
    plan->state = c;
    c->compute = at->compute;
    c->gathered = gathered;
    c->count = (size_t)shape_count(&n->output[0]->shape);
    leco_status status = gradient ? plan_gradient(c, at, plan, err) : plan_forward(c, at, plan, err);
    return status == LECO_OK ? LECO_OK : error_prefix(err, status, "%s", n->name);
}

static leco_status conv2d_plan(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    return plan_conv(at, plan, err, false, false);
}

static leco_status conv2d_dx_plan(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    return plan_conv(at, plan, err, true, false);
}

static leco_status conv2d_gathered_plan(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    return plan_conv(at, plan, err, false, true);
}

static leco_status conv2d_dx_gathered_plan(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    return plan_conv(at, plan, err, true, true);
}

/* ---- preparing ---- */

static leco_status prepare_gather(conv *c, const tensor *w, const kernel_plan *plan, leco_error *err)
{
    LECO_TRY(gather_prepare(&c->gather, err));
    if (c->bias >= 0) gather_set_bias(&c->gather, plan->weight[c->bias]);
    if (w->kind != TENSOR_WEIGHT) return repack_for_gather(&c->repack, w, &c->gather, err);
    LECO_TRY(gather_fill(&c->gather, w->weight, plan->form[1], err));
    gather_set_weights(&c->gather, plan->form[1]->data);
    return LECO_OK;
}

static leco_status prepare_primitive(conv *c, const tensor *w, const kernel_plan *plan, leco_error *err)
{
    LECO_TRY(primitive_make(&c->primitive, err));
    if (c->bias >= 0) primitive_set(&c->primitive, PRIMITIVE_BIAS, plan->weight[c->bias]);
    if (w->kind != TENSOR_WEIGHT)
        return repack_for_primitive(&c->repack, w, &c->primitive, c->compute, c->rotated, err);
    LECO_TRY(pack(c, w->weight, plan->form[1], err));
    primitive_set(&c->primitive, PRIMITIVE_WEIGHTS, plan->form[1]->data);
    return LECO_OK;
}

static leco_status prepare(const kernel_site *at, kernel_plan *plan, leco_error *err)
{
    conv *c = plan->state;
    const tensor *w = at->node->input[1];
    leco_status status = c->kind == CONV_PRODUCT  ? product_prepare(&c->product, plan, err)
                         : c->kind == CONV_GATHER ? prepare_gather(c, w, plan, err)
                                                  : prepare_primitive(c, w, plan, err);
    return status == LECO_OK ? LECO_OK : error_prefix(err, status, "%s", at->node->name);
}

static void release(kernel_plan *plan)
{
    conv *c = plan->state;
    if (!c) return;
    product_release(&c->product);
    primitive_release(&c->primitive);
    gather_release(&c->gather);
    repack_release(&c->repack);
    mem_free(c);
    plan->state = NULL;
}

static void run(const kernel_args *args)
{
    const conv *c = args->plan->state;
    const void *add = c->add >= 0 ? args->input[c->add] : NULL;
    if (c->kind == CONV_PRODUCT) {
        product_run(&c->product, args);
        return;
    }
    if (c->repack.place) {
        void *packed = (char *)args->scratch + c->packed_at;
        repack_run(&c->repack, args->input[1], packed);
        gather_set_weights(&c->gather, packed);
        primitive_set(&c->primitive, PRIMITIVE_WEIGHTS, packed);
    }
    size_t bytes = c->count * dtype_size(c->compute);
    bool apart = c->kind == CONV_BACKWARD && add;
    if (add && !apart) move_bytes(args->output[0], add, bytes);
    if (c->kind == CONV_GATHER) {
        gather_run(&c->gather, args->input[0], args->output[0], args->scratch);
        return;
    }
    void *to = apart ? (char *)args->scratch + (c->primitive.scratch_bytes + 63) / 64 * 64 : args->output[0];
    primitive_set(&c->primitive, PRIMITIVE_SRC, args->input[0]);
    primitive_set(&c->primitive, PRIMITIVE_DST, to);
    primitive_set(&c->primitive, PRIMITIVE_SCRATCH, args->scratch);
    primitive_run(&c->primitive);
    if (apart) move_sum(args->output[0], to, add, c->compute, c->count);
}

static const char *chosen(const kernel_plan *plan)
{
    const conv *c = plan->state;
    if (c->kind == CONV_GATHER) return "gathered windows";
    return c->kind == CONV_PRODUCT ? c->product.primitive.implementation : c->primitive.implementation;
}

const cpu_kernel cpu_conv2d = {
    .once = {.plan = conv2d_plan, .prepare = prepare, .run = run, .release = release, .chosen = chosen}};
const cpu_kernel cpu_conv2d_dx = {
    .once = {.plan = conv2d_dx_plan, .prepare = prepare, .run = run, .release = release, .chosen = chosen}};
const kernel cpu_conv2d_gathered = {
    .plan = conv2d_gathered_plan, .prepare = prepare, .run = run, .release = release, .chosen = chosen};
const kernel cpu_conv2d_dx_gathered = {
    .plan = conv2d_dx_gathered_plan, .prepare = prepare, .run = run, .release = release, .chosen = chosen};
