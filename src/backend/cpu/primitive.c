#include "backend/cpu/primitive.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"

/* One engine and one stream for all; they live as long as the program. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static dnnl_engine_t engine;
static dnnl_stream_t stream;

static void start(void)
{
    /* LECO_CPU lowers oneDNN as well, so that tests see the whole backend as an older processor would run it. */
    cpu_level level = cpu_detect();
    if (level == CPU_BASELINE) dnnl_set_max_cpu_isa(dnnl_cpu_isa_sse41);
    if (level == CPU_AVX2) dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2);
    if (level == CPU_AVX512) dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core);
    if (dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success) return;
    if (dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) != dnnl_success) stream = NULL;
}

static leco_status ready(leco_error *err)
{
    pthread_once(&once, start);
    return stream ? LECO_OK : error_set(err, LECO_INTERNAL, "oneDNN could not create its CPU engine");
}

static dnnl_data_type_t data_type(dtype type)
{
    return type == DTYPE_BF16 ? dnnl_bf16 : dnnl_f32;
}

/* The name of a descriptor's implementation, and whether it is more than a reference loop (those are the last choice of
 * every list, so there is nothing better behind one). */
static bool name_fast(dnnl_primitive_desc_t pd, char name[64])
{
    const char *text = NULL;
    dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&text);
    snprintf(name, 64, "%s", text ? text : "");
    return strncmp(name, "ref", 3) != 0;
}

/* Takes over pd. */
static leco_status finish(primitive *p, dnnl_primitive_desc_t pd, leco_error *err)
{
    static const dnnl_query_t forward[] = {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_weights_md,
                                           dnnl_query_dst_md, dnnl_query_scratchpad_md};
    static const dnnl_query_t backward[] = {dnnl_query_diff_dst_md, dnnl_query_weights_md, dnnl_query_weights_md,
                                            dnnl_query_diff_src_md, dnnl_query_scratchpad_md};
    bool ok = true, fast = name_fast(pd, p->implementation);
    for (int i = 0; i < PRIMITIVE_ARGS && fast && ok; i++) {
        if (i == PRIMITIVE_BIAS) continue;
        compat_view view = compat_query(pd, p->gradient ? backward[i] : forward[i]);
        ok = view && compat_memory_create(&p->memory[i], view, engine);
        if (ok && i == PRIMITIVE_SCRATCH) p->scratch_bytes = compat_view_bytes(view);
        if (ok && i == PRIMITIVE_WEIGHTS) {
            p->weight_bytes = compat_view_bytes(view);
            ok = compat_view_layout(view, &p->weight_layout);
        }
    }
    ok = ok && fast && dnnl_primitive_create(&p->handle, pd) == dnnl_success;
    dnnl_primitive_desc_destroy(pd);
    p->threads = cpu_threads();
    if (ok) return LECO_OK;
    char name[sizeof p->implementation];
    memcpy(name, p->implementation, sizeof name);
    primitive_release(p);
    if (!fast) return error_set(err, LECO_UNSUPPORTED, "oneDNN has only its reference implementation (%s)", name);
    return error_set(err, LECO_INTERNAL, "oneDNN could not create a primitive (%s)", name);
}

static leco_status refused(primitive *p, leco_error *err, const char *what)
{
    primitive_release(p);
    return error_set(err, LECO_UNSUPPORTED, "oneDNN has no %s for this processor, dtype and shape", what);
}

leco_status primitive_matmul(primitive *p, const matmul_spec *s, leco_error *err)
{
    memset(p, 0, sizeof *p);
    LECO_TRY(ready(err));
    cpu_fix_threads(cpu_threads());
    dnnl_data_type_t type = data_type(s->type);
    compat_desc src = {0}, weights = {0}, bias = {0}, dst = {0};
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    bool ok = compat_desc_create(&src, 2, (dnnl_dim_t[]){s->rows, s->depth}, type, dnnl_ab) &&
              compat_desc_create(&weights, 2, (dnnl_dim_t[]){s->depth, s->columns}, type,
                                 s->transposed ? dnnl_ba : dnnl_ab) &&
              compat_desc_create(&bias, 2, (dnnl_dim_t[]){1, s->columns}, type, dnnl_ab) &&
              compat_desc_create(&dst, 2, (dnnl_dim_t[]){s->rows, s->columns}, type, dnnl_ab) &&
              compat_attr_create(&attr, s->alpha, s->sum) &&
              compat_matmul(&pd, engine, &src, &weights, s->bias ? &bias : NULL, &dst, attr) &&
              (!s->bias || compat_memory_create(&p->memory[PRIMITIVE_BIAS], compat_desc_view(&bias), engine));
    if (attr) dnnl_primitive_attr_destroy(attr);
    compat_desc_destroy(&src);
    compat_desc_destroy(&weights);
    compat_desc_destroy(&bias);
    compat_desc_destroy(&dst);
    if (ok) return finish(p, pd, err);
    if (pd) dnnl_primitive_desc_destroy(pd);
    return refused(p, err, "matrix product");
}

leco_status primitive_conv(primitive *p, const conv_spec *s, leco_error *err)
{
    memset(p, 0, sizeof *p);
    LECO_TRY(ready(err));
    cpu_fix_threads(cpu_threads());
    dnnl_data_type_t type = data_type(s->type);
    compat_desc src = {0}, weights = {0}, bias = {0}, dst = {0};
    compat_window window = {0};
    for (int i = 0; i < 2; i++) {
        window.stride[i] = s->stride;
        window.before[i] = s->before[i];
        window.after[i] = s->after[i];
    }
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    p->gradient = s->gradient;
    bool ok = compat_desc_create(&src, 4, (dnnl_dim_t[]){s->n, s->in, s->h, s->w}, type, dnnl_nhwc) &&
              compat_desc_create(&weights, 4, (dnnl_dim_t[]){s->out, s->in, s->kh, s->kw}, type, dnnl_format_tag_any) &&
              compat_desc_create(&bias, 1, (dnnl_dim_t[]){s->out}, type, dnnl_a) &&
              compat_desc_create(&dst, 4, (dnnl_dim_t[]){s->n, s->out, s->ho, s->wo}, type, dnnl_nhwc) &&
              compat_attr_create(&attr, 1.0f, s->sum) &&
              (s->gradient ? compat_conv_dx(&pd, engine, &src, &weights, &dst, &window, attr)
                           : compat_conv(&pd, engine, &src, &weights, s->bias ? &bias : NULL, &dst, &window, attr)) &&
              (!s->bias || compat_memory_create(&p->memory[PRIMITIVE_BIAS], compat_desc_view(&bias), engine));
    if (attr) dnnl_primitive_attr_destroy(attr);
    compat_desc_destroy(&src);
    compat_desc_destroy(&weights);
    compat_desc_destroy(&bias);
    compat_desc_destroy(&dst);
    if (ok) return finish(p, pd, err);
    if (pd) dnnl_primitive_desc_destroy(pd);
    return refused(p, err, "convolution");
}

void primitive_release(primitive *p)
{
    for (int i = 0; i < PRIMITIVE_ARGS; i++)
        if (p->memory[i]) dnnl_memory_destroy(p->memory[i]);
    if (p->handle) dnnl_primitive_destroy(p->handle);
    memset(p, 0, sizeof *p);
}

leco_status primitive_pack(const primitive *p, const void *plain, void *packed, leco_error *err)
{
    const compat_layout *l = &p->weight_layout;
    dnnl_dim_t dims[4];
    for (int i = 0; i < 4; i++) dims[i] = l->dims[i];
    compat_desc from = {0};
    dnnl_memory_t source = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t reorder = NULL;
    compat_view to = NULL;
    primitive_set(p, PRIMITIVE_WEIGHTS, packed);
    bool ok =
        compat_desc_create(&from, 4, dims, (dnnl_data_type_t)l->type, dnnl_abcd) &&
        compat_memory_create(&source, compat_desc_view(&from), engine) &&
        dnnl_memory_set_data_handle(source, (void *)(uintptr_t)plain) == dnnl_success &&
        dnnl_memory_get_memory_desc(p->memory[PRIMITIVE_WEIGHTS], &to) == dnnl_success &&
        dnnl_reorder_primitive_desc_create(&pd, compat_desc_view(&from), engine, to, engine, NULL) == dnnl_success &&
        dnnl_primitive_create(&reorder, pd) == dnnl_success;
    if (ok) {
        dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, p->memory[PRIMITIVE_WEIGHTS]}};
        ok = dnnl_primitive_execute(reorder, stream, 2, args) == dnnl_success &&
             dnnl_stream_wait(stream) == dnnl_success;
    }
    if (reorder) dnnl_primitive_destroy(reorder);
    if (pd) dnnl_primitive_desc_destroy(pd);
    if (source) dnnl_memory_destroy(source);
    compat_desc_destroy(&from);
    return ok ? LECO_OK : error_set(err, LECO_INTERNAL, "oneDNN could not rearrange a convolution's weights");
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
    dnnl_status_t status = dnnl_primitive_execute(p->handle, stream, count, args);
    assert(status == dnnl_success); /* nothing in it can fail but for a bug of ours */
    (void)status;
}
