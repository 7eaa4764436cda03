#include "backend/cpu/primitive.h"

#include <assert.h>
#include <oneapi/dnnl/dnnl_debug.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "backend/cpu/choice.h"
#include "base/cpu.h"

/* One engine for all, which oneDNN allows; it lives as long as the program. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static dnnl_engine_t engine;
static dnnl_status_t started;

static void start(void)
{
    /* LECO_CPU lowers oneDNN as well, so that tests see the whole backend as an older processor would run it. */
    cpu_level level = cpu_detect();
    if (level == CPU_BASELINE) dnnl_set_max_cpu_isa(dnnl_cpu_isa_sse41);
    if (level == CPU_AVX2) dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2);
    if (level == CPU_AVX512) dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core);
    if (level == CPU_AVX512_BF16) dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core_bf16);
    started = dnnl_engine_create(&engine, dnnl_cpu, 0);
}

leco_status primitive_failure(dnnl_status_t status, const char *what, leco_error *err)
{
    if (status == dnnl_out_of_memory)
        return error_set(err, LECO_MEMORY, "out of memory: oneDNN could not create %s", what);
    return error_set(err, LECO_INTERNAL, "oneDNN could not create %s: %s", what, dnnl_status2str(status));
}

static leco_status ready(leco_error *err)
{
    pthread_once(&once, start);
    return started == dnnl_success ? LECO_OK : primitive_failure(started, "its CPU engine", err);
}

static dnnl_data_type_t data_type(dtype type)
{
    return type == DTYPE_BF16 ? dnnl_bf16 : dnnl_f32;
}

/* What a primitive is made from. */
typedef struct request {
    compat_desc src, weights, bias, dst;
    dnnl_primitive_attr_t attr;
    compat_list list;
} request;

static void request_release(request *r)
{
    compat_list_destroy(&r->list);
    compat_attr_destroy(&r->attr);
    compat_desc_destroy(&r->src);
    compat_desc_destroy(&r->weights);
    compat_desc_destroy(&r->bias);
    compat_desc_destroy(&r->dst);
}

static dnnl_status_t request_matmul(request *r, const matmul_spec *s)
{
    dnnl_data_type_t type = data_type(s->type);
    COMPAT_TRY(compat_desc_create(&r->src, 2, (dnnl_dim_t[]){s->rows, s->depth}, type, dnnl_ab));
    COMPAT_TRY(compat_desc_create(&r->weights, 2, (dnnl_dim_t[]){s->depth, s->columns}, type,
                                  s->transposed ? dnnl_ba : dnnl_ab));
    COMPAT_TRY(compat_desc_create(&r->bias, 2, (dnnl_dim_t[]){1, s->columns}, type, dnnl_ab));
    COMPAT_TRY(compat_desc_create(&r->dst, 2, (dnnl_dim_t[]){s->rows, s->columns}, type, dnnl_ab));
    COMPAT_TRY(compat_attr_create(&r->attr, s->alpha, s->sum));
    return compat_matmul(&r->list, engine, &r->src, &r->weights, s->bias ? &r->bias : NULL, &r->dst, r->attr);
}

static dnnl_status_t request_conv(request *r, const conv_spec *s)
{
    dnnl_data_type_t type = data_type(s->type);
    compat_window window = {0};
    for (int i = 0; i < 2; i++) {
        window.stride[i] = s->stride;
        window.before[i] = s->before[i];
        window.after[i] = s->after[i];
    }
    COMPAT_TRY(compat_desc_create(&r->src, 4, (dnnl_dim_t[]){s->n, s->in, s->h, s->w}, type, dnnl_nhwc));
    COMPAT_TRY(
        compat_desc_create(&r->weights, 4, (dnnl_dim_t[]){s->out, s->in, s->kh, s->kw}, type, dnnl_format_tag_any));
    COMPAT_TRY(compat_desc_create(&r->bias, 1, (dnnl_dim_t[]){s->out}, type, dnnl_a));
    COMPAT_TRY(compat_desc_create(&r->dst, 4, (dnnl_dim_t[]){s->n, s->out, s->ho, s->wo}, type, dnnl_nhwc));
    COMPAT_TRY(compat_attr_create(&r->attr, 1.0f, s->sum));
    if (s->gradient) return compat_conv_dx(&r->list, engine, &r->src, &r->weights, &r->dst, &window, r->attr);
    return compat_conv(&r->list, engine, &r->src, &r->weights, s->bias ? &r->bias : NULL, &r->dst, &window, r->attr);
}

/* Takes the implementation to use out of the list, or says LECO_UNSUPPORTED. */
static leco_status choose(compat_list *list, int64_t depth, const char *what, dnnl_primitive_desc_t *pd,
                          leco_error *err)
{
    const char *names[COMPAT_MAX_IMPLEMENTATIONS], *why;
    for (size_t i = 0; i < list->count; i++) names[i] = compat_name(list->pd[i]);
    int index = choice_pick(names, list->count, compat_version(), depth);
    if (index < 0) {
        choice_judge(names[0], compat_version(), depth, &why);
        return error_set(err, LECO_UNSUPPORTED,
                         "oneDNN can't do %s well on this processor, in this dtype and shape: %s %s", what, names[0],
                         why);
    }
    *pd = list->pd[index];
    list->pd[index] = list->pd[--list->count];
    return LECO_OK;
}

/* Notes what the chosen implementation takes. */
static dnnl_status_t measure(primitive *p)
{
    compat_view scratch = compat_query(p->planned, dnnl_query_scratchpad_md);
    compat_view weights = compat_query(p->planned, dnnl_query_weights_md);
    if (scratch) p->scratch_bytes = compat_view_bytes(scratch);
    p->weight_bytes = compat_view_bytes(weights);
    snprintf(p->implementation, sizeof p->implementation, "%s", compat_name(p->planned));
    return compat_view_layout(weights, &p->weight_layout);
}

/* Plans p by what was requested, with `requested` as the outcome; releases r. `depth` is a product's, else 0. */
static leco_status finish(primitive *p, request *r, dnnl_status_t requested, int64_t depth, leco_error *err)
{
    leco_status status = LECO_OK;
    if (requested == dnnl_unimplemented)
        status =
            error_set(err, LECO_UNSUPPORTED, "oneDNN can't do %s on this processor, in this dtype and shape", p->what);
    else if (requested != dnnl_success)
        status = primitive_failure(requested, p->what, err);
    else
        status = choose(&r->list, depth, p->what, &p->planned, err);
    if (status == LECO_OK) {
        dnnl_status_t measured = measure(p);
        if (measured != dnnl_success) status = primitive_failure(measured, p->what, err);
    }
    request_release(r);
    if (status != LECO_OK) primitive_release(p);
    return status;
}

/* Zeroes p but for what is the same for all kinds. */
static leco_status begin(primitive *p, const char *what, leco_error *err)
{
    memset(p, 0, sizeof *p);
    LECO_TRY(ready(err));
    p->what = what;
    p->threads = cpu_threads();
    cpu_fix_threads(p->threads);
    return LECO_OK;
}

leco_status primitive_plan_matmul(primitive *p, const matmul_spec *s, leco_error *err)
{
    request r = {0};
    LECO_TRY(begin(p, "a matrix product", err));
    p->bias = s->bias;
    dnnl_status_t requested = request_matmul(&r, s);
    return finish(p, &r, requested, s->depth, err);
}

leco_status primitive_plan_conv(primitive *p, const conv_spec *s, leco_error *err)
{
    request r = {0};
    LECO_TRY(begin(p, s->gradient ? "a convolution's data gradient" : "a convolution", err));
    p->gradient = s->gradient;
    p->bias = s->bias && !s->gradient;
    dnnl_status_t requested = request_conv(&r, s);
    return finish(p, &r, requested, 0, err);
}

static dnnl_status_t make(primitive *p)
{
    static const dnnl_query_t forward[] = {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_undef,
                                           dnnl_query_dst_md, dnnl_query_scratchpad_md};
    static const dnnl_query_t backward[] = {dnnl_query_diff_dst_md, dnnl_query_weights_md, dnnl_query_undef,
                                            dnnl_query_diff_src_md, dnnl_query_scratchpad_md};
    for (int i = 0; i < PRIMITIVE_ARGS; i++) {
        if (i == PRIMITIVE_BIAS && !p->bias) continue;
        compat_view view = i == PRIMITIVE_BIAS ? compat_bias(p->planned)
                                               : compat_query(p->planned, p->gradient ? backward[i] : forward[i]);
        if (view) COMPAT_TRY(compat_memory_create(&p->memory[i], view, engine));
    }
    COMPAT_TRY(dnnl_stream_create(&p->stream, engine, dnnl_stream_default_flags));
    return dnnl_primitive_create(&p->handle, p->planned);
}

leco_status primitive_make(primitive *p, leco_error *err)
{
    const char *what = p->what;
    cpu_fix_threads(p->threads);
    dnnl_status_t made = make(p);
    dnnl_primitive_desc_destroy(p->planned);
    p->planned = NULL;
    if (made == dnnl_success) return LECO_OK;
    primitive_release(p);
    return primitive_failure(made, what, err);
}

void primitive_release(primitive *p)
{
    for (int i = 0; i < PRIMITIVE_ARGS; i++)
        if (p->memory[i]) dnnl_memory_destroy(p->memory[i]);
    if (p->handle) dnnl_primitive_destroy(p->handle);
    if (p->planned) dnnl_primitive_desc_destroy(p->planned);
    if (p->stream) dnnl_stream_destroy(p->stream);
    memset(p, 0, sizeof *p);
}

/* A reorder keeps its working memory to the thread that made it: it is made, run and destroyed here. */
static dnnl_status_t rearrange(const primitive *p, compat_view from, dnnl_memory_t source)
{
    compat_view to = NULL;
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t reorder = NULL;
    COMPAT_TRY(dnnl_memory_get_memory_desc(p->memory[PRIMITIVE_WEIGHTS], &to));
    COMPAT_TRY(dnnl_reorder_primitive_desc_create(&pd, from, engine, to, engine, NULL));
    dnnl_status_t status = dnnl_primitive_create(&reorder, pd);
    dnnl_primitive_desc_destroy(pd);
    COMPAT_TRY(status);
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, p->memory[PRIMITIVE_WEIGHTS]}};
    status = dnnl_primitive_execute(reorder, p->stream, 2, args);
    if (status == dnnl_success) status = dnnl_stream_wait(p->stream);
    dnnl_primitive_destroy(reorder);
    return status;
}

leco_status primitive_pack(const primitive *p, const void *plain, void *packed, leco_error *err)
{
    const compat_layout *l = &p->weight_layout;
    dnnl_dim_t dims[COMPAT_MAX_DIMS];
    for (int i = 0; i < COMPAT_MAX_DIMS; i++) dims[i] = l->dims[i];
    compat_desc from = {0};
    dnnl_memory_t source = NULL;
    dnnl_status_t status = compat_desc_create(&from, COMPAT_MAX_DIMS, dims, (dnnl_data_type_t)l->type, dnnl_abcd);
    if (status == dnnl_success) status = compat_memory_create(&source, compat_desc_view(&from), engine);
    if (status == dnnl_success) status = dnnl_memory_set_data_handle(source, (void *)(uintptr_t)plain);
    primitive_set(p, PRIMITIVE_WEIGHTS, packed);
    if (status == dnnl_success) status = rearrange(p, compat_desc_view(&from), source);
    if (source) dnnl_memory_destroy(source);
    compat_desc_destroy(&from);
    return status == dnnl_success ? LECO_OK : primitive_failure(status, "a convolution's weights in its layout", err);
}

void primitive_set(const primitive *p, int arg, const void *data)
{
    if (data && p->memory[arg]) dnnl_memory_set_data_handle(p->memory[arg], (void *)(uintptr_t)data);
}

void primitive_run(const primitive *p)
{
    static const int forward[] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD};
    static const int backward[] = {DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DIFF_SRC,
                                   DNNL_ARG_SCRATCHPAD};
    dnnl_exec_arg_t args[PRIMITIVE_ARGS];
    int count = 0;
    for (int i = 0; i < PRIMITIVE_ARGS; i++) {
        if (!p->memory[i] || (i == PRIMITIVE_SCRATCH && p->scratch_bytes == 0)) continue;
        args[count].arg = p->gradient ? backward[i] : forward[i];
        args[count++].memory = p->memory[i];
    }
    cpu_fix_threads(p->threads);
    dnnl_status_t status = dnnl_primitive_execute(p->handle, p->stream, count, args);
    assert(status == dnnl_success); /* nothing in it can fail but for a bug of ours */
    (void)status;
}
