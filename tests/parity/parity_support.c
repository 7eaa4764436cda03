#include "parity_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

const way ways[WAY_COUNT] = {
    [WAY_REF_F32] = {"ref float32", "ref", DTYPE_F32},       [WAY_CPU_F32] = {"cpu float32", "cpu", DTYPE_F32},
    [WAY_CPU_BF16] = {"cpu bfloat16", "cpu", DTYPE_BF16},    [WAY_CUDA_F32] = {"cuda float32", "cuda", DTYPE_F32},
    [WAY_CUDA_BF16] = {"cuda bfloat16", "cuda", DTYPE_BF16}, [WAY_CUDA_F16] = {"cuda float16", "cuda", DTYPE_F16},
};

bool way_available(const way *w)
{
    const backend *b = backend_find(w->device);
    return test_on(w->device) && b && backend_open(b, NULL) == LECO_OK && b->supports(w->type);
}

int way_grade(const way *w)
{
    return w->type == DTYPE_BF16 ? 1 : w->type == DTYPE_F16 ? 2 : 0;
}

/* ---- fixtures ---- */

safetensors *fixture_open(const char *path)
{
    leco_error err = {0};
    safetensors *file;
    char *full = mem_printf(FIXTURES "%s", path);
    assert_works(safetensors_open(full, &file, &err), &err);
    mem_free(full);
    return file;
}

bool fixture_is_embedded(const char *name)
{
    return strncmp(name, "shapes", 6) == 0;
}

const char *fixture_model(const char *name, const char *part)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s%s/%s", fixture_is_embedded(name) ? LECO_SOURCE_DIR "/models/" : FIXTURES, name,
             part);
    return path;
}

static const safetensors_entry *find(const safetensors *file, const char *format, va_list args)
{
    char name[512];
    vsnprintf(name, sizeof name, format, args);
    return safetensors_find(file, name);
}

bool fixture_has(const safetensors *file, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool there = find(file, format, args) != NULL;
    va_end(args);
    return there;
}

static values read_entry(const safetensors *file, const safetensors_entry *e, const char *format)
{
    if (!e) fail_msg("%s: no tensor \"%s\"", safetensors_path(file), format);
    values v = {.count = e->count, .rank = e->rank};
    memcpy(v.dim, e->shape, sizeof v.dim);
    v.at = mem_calloc(e->count, sizeof *v.at);
    assert_non_null(v.at);
    if (e->type == DTYPE_I64) {
        for (size_t i = 0; i < e->count; i++) {
            int64_t value;
            memcpy(&value, (const char *)e->data + i * sizeof value, sizeof value);
            v.at[i] = (float)value;
        }
    } else {
        dtype_convert(v.at, DTYPE_F32, e->data, e->type, e->count);
    }
    return v;
}

values fixture_read(const safetensors *file, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const safetensors_entry *e = find(file, format, args);
    va_end(args);
    return read_entry(file, e, format);
}

values fixture_read_nhwc(const safetensors *file, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const safetensors_entry *e = find(file, format, args);
    va_end(args);
    values in = read_entry(file, e, format), out = in;
    assert_int_equal(in.rank, 4);
    out.at = mem_calloc(in.count, sizeof *out.at);
    int64_t channels = in.dim[1], area = in.dim[2] * in.dim[3];
    for (int64_t n = 0; n < in.dim[0]; n++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = 0; i < area; i++)
                out.at[(n * area + i) * channels + c] = in.at[(n * channels + c) * area + i];
    out.dim[1] = in.dim[2];
    out.dim[2] = in.dim[3];
    out.dim[3] = channels;
    values_free(&in);
    return out;
}

void values_free(values *v)
{
    mem_free(v->at);
    *v = (values){0};
}

/* ---- comparing ---- */

double worst_error(const float *got, const values *want)
{
    double error = 0, magnitude = 0;
    for (size_t i = 0; i < want->count; i++) {
        double d = fabs((double)got[i] - (double)want->at[i]);
        if (!(d <= error)) error = isnan(d) ? INFINITY : d;
        magnitude = fmax(magnitude, fabs((double)want->at[i]));
    }
    return magnitude > 0 ? error / magnitude : error;
}

double norm_error(const float *got, const values *want)
{
    double error = 0, norm = 0;
    for (size_t i = 0; i < want->count; i++) {
        double d = (double)got[i] - (double)want->at[i];
        error += d * d;
        norm += (double)want->at[i] * (double)want->at[i];
    }
    return norm > 0 ? sqrt(error / norm) : sqrt(error);
}

void check_error(const char *what, const way *w, double error, double bound)
{
    print_message("    %-44s %-14s %.2e\n", what, w->name, error);
    if (!(error <= bound)) fail_msg("%s, %s: error %g is above %g", what, w->name, error, bound);
}

/* ---- running ---- */

running run_start(graph *g, const way *w)
{
    leco_error err = {0};
    const backend *b = backend_find(w->device);
    running r = {.way = w, .memory = workspace_create(b->memory)};
    assert_works(graph_finish(g, &err), &err);
    assert_works(session_open(g, b, r.memory, &r.session, &err), &err);
    return r;
}

void run_all(running *r)
{
    leco_error err = {0};
    assert_works(session_run(r->session, &err), &err);
}

void run_write(running *r, const tensor *t, const values *v)
{
    assert_int_equal(shape_count(&t->shape), v->count);
    assert_int_equal(session_write(r->session, t, v->at, v->count, NULL), LECO_OK);
}

double run_compare(running *r, const tensor *t, const values *want)
{
    assert_int_equal(shape_count(&t->shape), want->count);
    float *got = mem_calloc(want->count, sizeof *got);
    assert_non_null(got);
    assert_int_equal(session_read(r->session, t, got, want->count, NULL), LECO_OK);
    double error = way_grade(r->way) ? norm_error(got, want) : worst_error(got, want);
    mem_free(got);
    return error;
}

void run_end(running *r)
{
    session_destroy(r->session);
    workspace_destroy(r->memory);
}
