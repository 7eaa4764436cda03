#include "backend/session.h"

#include <assert.h>
#include <string.h>

#include "backend/session_internal.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "base/room.h"

struct session {
    session_plan *plan;
    workspace *workspace;
    kernel_args *args; /* [nodes] pointers into the workspace as it was at `bound_to` */
    const unsigned char *bound_to;
    void *recording; /* of a run as it is bound, where the backend records; NULL before the second run */
    bool ran;        /* as it is bound */
    void *staging;   /* [plan->staging_bytes] what the host writes and reads is put together here; NULL without */
    double *seconds; /* NULL: not profiling */
};

/* Does it with all buffers of params, and the copies of them that all sessions share. */
static leco_status with_buffers(const session_plan *p,
                                leco_status (*what)(const weight *buffer, weight_form *copy, leco_error *err),
                                leco_error *err)
{
    const weight *last = NULL;
    for (size_t i = 0; i < p->moved_count && p->moved[i]->kind == TENSOR_PARAM; i++) {
        weight *buffer = p->moved[i]->param->buffer;
        weight_form *copy;
        if (buffer == last || buffer == NULL) continue;
        LECO_TRY(session_buffer(p, buffer, &copy, err));
        LECO_TRY(what(buffer, copy, err));
        last = buffer;
    }
    return LECO_OK;
}

static leco_status take_copy(const weight *buffer, weight_form *copy, leco_error *err)
{
    return copy->data ? LECO_OK : weight_take(buffer, copy, err);
}

static leco_status prepare(session *s, leco_error *err)
{
    session_plan *p = s->plan;
    const size_t nodes = graph_node_count(p->g);
    s->args = mem_calloc(nodes, sizeof *s->args);
    if (s->args == NULL) return error_memory(err, nodes * sizeof *s->args, "a session");
    if (p->staging_bytes > 0 && (s->staging = mem_aligned(p->staging_bytes)) == NULL)
        return error_memory(err, p->staging_bytes, "a session");
    for (size_t i = 0; i < nodes; i++) {
        const kernel_site at = session_site(p, i);
        LECO_TRY(room_for_kernels(err));
        LECO_TRY(kernel_prepare(p->steps[i].kernel, &at, &p->steps[i].plan, err));
    }
    LECO_TRY(with_buffers(p, take_copy, err));
    LECO_TRY(workspace_reserve(s->workspace, p->memory.arena_bytes, err));
    return room_for_kernels(err); /* running takes a little, too */
}

leco_status session_create(session_plan *p, workspace *w, session **out, leco_error *err)
{
    *out = NULL;
    assert(workspace_memory(w) == p->backend->memory);
    session *s = mem_calloc(1, sizeof *s);
    if (s == NULL) {
        session_plan_destroy(p);
        return error_memory(err, sizeof *s, "a session");
    }
    s->plan = p;
    s->workspace = w;
    leco_status status = prepare(s, err);
    if (status != LECO_OK) {
        session_destroy(s);
        return status;
    }
    *out = s;
    return LECO_OK;
}

leco_status session_open(graph *g, const backend *b, workspace *w, session **out, leco_error *err)
{
    session_plan *p;
    *out = NULL;
    LECO_TRY(session_plan_create(g, b, &p, err));
    return session_create(p, w, out, err);
}

static void forget_recording(session *s)
{
    if (s->recording) s->plan->backend->recorder->release(s->recording);
    s->recording = NULL;
    s->ran = false;
}

void session_destroy(session *s)
{
    if (s == NULL) return;
    forget_recording(s);
    session_plan_destroy(s->plan);
    mem_free_aligned(s->staging);
    mem_free(s->args);
    mem_free(s->seconds);
    mem_free(s);
}

const session_plan *session_planned(const session *s)
{
    return s->plan;
}

size_t session_plan_bytes(const session_plan *p)
{
    size_t nodes = graph_node_count(p->g);
    return sizeof *p + sizeof(session) + nodes * (sizeof *p->steps + sizeof *p->memory.scratch + sizeof(kernel_args)) +
           graph_tensor_count(p->g) * (sizeof *p->memory.tensor + (p->moved ? sizeof *p->moved : 0)) + p->staging_bytes;
}

/* ---- memory of tensors ---- */

static const device_memory *memory_of(const session *s)
{
    return s->plan->backend->memory;
}

/* In the device's copy of its buffer. */
static void *param_memory(const session *s, const param *p)
{
    weight_form *copy = NULL;
    session_buffer(s->plan, p->buffer, &copy, NULL); /* it is there: no failure */
    return (char *)copy->data + ((const char *)p->value - (const char *)p->buffer->data);
}

static void *tensor_memory(const session *s, const tensor *t)
{
    const size_t offset = s->plan->memory.tensor[t->id];
    if (offset != PLAN_NOWHERE) return workspace_start(s->workspace) + offset;
    if (t->kind == TENSOR_PARAM && t->param->buffer && !memory_is_host(memory_of(s))) return param_memory(s, t->param);
    if (t->kind == TENSOR_PARAM) return t->param->value;
    if (t->kind == TENSOR_PARAM_GRAD) return t->param->grad;
    return NULL; /* of a weight: kernel_plan.weight */
}

/* Points all kernels at the workspace where it lies now. */
static void bind(session *s)
{
    for (size_t i = 0; i < graph_node_count(s->plan->g); i++) {
        const node *n = graph_node_at(s->plan->g, i);
        const kernel_plan *plan = &s->plan->steps[i].plan;
        kernel_args *args = &s->args[i];
        *args = (kernel_args){.node = n, .plan = plan};
        for (int k = 0; k < NODE_MAX_INPUTS; k++) {
            const tensor *t = n->input[k];
            if (t == NULL) continue;
            args->input[k] = t->kind == TENSOR_WEIGHT ? plan->weight[k] : tensor_memory(s, t);
        }
        for (int k = 0; k < NODE_MAX_OUTPUTS; k++) {
            if (n->output[k] != NULL) args->output[k] = tensor_memory(s, n->output[k]);
        }
        args->scratch = workspace_start(s->workspace) + s->plan->memory.scratch[i];
    }
    s->bound_to = workspace_start(s->workspace);
}

void *session_data(session *s, const tensor *t)
{
    assert(memory_is_host(memory_of(s)));
    return tensor_memory(s, t);
}

static size_t count_of(const tensor *t)
{
    return (size_t)shape_count(&t->shape);
}

static size_t bytes_of(const tensor *t)
{
    return count_of(t) * dtype_size(t->type);
}

leco_status session_write(session *s, const tensor *t, const float *values, size_t count, leco_error *err)
{
    assert(t->kind == TENSOR_INPUT && count == count_of(t));
    void *to = s->staging != NULL ? s->staging : tensor_memory(s, t);
    dtype_convert(to, t->type, values, DTYPE_F32, count);
    return s->staging != NULL ? memory_of(s)->upload(tensor_memory(s, t), to, bytes_of(t), err) : LECO_OK;
}

leco_status session_write_i32(session *s, const tensor *t, const int32_t *values, size_t count, leco_error *err)
{
    assert(t->kind == TENSOR_INPUT && t->type == DTYPE_I32 && count == count_of(t));
    if (s->staging != NULL) return memory_of(s)->upload(tensor_memory(s, t), values, bytes_of(t), err);
    memcpy(tensor_memory(s, t), values, count * sizeof *values);
    return LECO_OK;
}

leco_status session_read(session *s, const tensor *t, float *values, size_t count, leco_error *err)
{
    assert(t->is_result && count == count_of(t));
    const void *from = tensor_memory(s, t);
    if (s->staging != NULL) {
        LECO_TRY(memory_of(s)->download(s->staging, from, bytes_of(t), err));
        from = s->staging;
    }
    dtype_convert(values, DTYPE_F32, from, t->type, count);
    return LECO_OK;
}

/* ---- running ---- */

static char *host_memory_of(const tensor *t)
{
    return t->kind == TENSOR_PARAM ? t->param->value : t->param->grad;
}

/* Values of params without a buffer to the device before a run, or all gradients back after it: those that are
 * neighbours on both sides at once. */
static leco_status move_params(session *s, tensor_kind kind, leco_error *err)
{
    const session_plan *p = s->plan;
    for (size_t i = 0, next; i < p->moved_count; i = next) {
        const tensor *first = p->moved[i];
        size_t bytes = bytes_of(first);
        char *here = host_memory_of(first), *there = tensor_memory(s, first);
        for (next = i + 1; next < p->moved_count; next++) {
            const tensor *t = p->moved[next];
            if (t->kind != first->kind || host_memory_of(t) != here + bytes || tensor_memory(s, t) != there + bytes)
                break;
            bytes += bytes_of(t);
        }
        if (first->kind != kind || (kind == TENSOR_PARAM && first->param->buffer)) continue;
        LECO_TRY(kind == TENSOR_PARAM ? memory_of(s)->upload(there, here, bytes, err)
                                      : memory_of(s)->download(here, there, bytes, err));
    }
    return LECO_OK;
}

static leco_status synchronise(const session *s, leco_error *err)
{
    return memory_is_host(memory_of(s)) ? LECO_OK : memory_of(s)->synchronise(err);
}

static void run_nodes(session *s)
{
    const size_t nodes = graph_node_count(s->plan->g);
    for (size_t i = 0; i < nodes; i++) s->plan->steps[i].kernel->run(&s->args[i]);
}

/* The first run is a plain one: libraries make themselves ready in it. The second is recorded. */
static leco_status run_recorded(session *s, leco_error *err)
{
    const recorder *r = s->plan->backend->recorder;
    if (!s->ran) {
        run_nodes(s);
        s->ran = true;
        return LECO_OK;
    }
    if (!s->recording) {
        LECO_TRY(r->begin(err));
        run_nodes(s);
        LECO_TRY(r->end(&s->recording, err));
    }
    return r->replay(s->recording, err);
}

static leco_status run_with_stopwatch(session *s, leco_error *err)
{
    const stopwatch *w = s->plan->backend->stopwatch;
    const size_t nodes = graph_node_count(s->plan->g);
    LECO_TRY(w->begin(nodes + 1, err));
    for (size_t i = 0; i < nodes; i++) {
        w->mark(i);
        s->plan->steps[i].kernel->run(&s->args[i]);
    }
    w->mark(nodes);
    return w->end(s->seconds, err);
}

static leco_status run_profiled(session *s, leco_error *err)
{
    const size_t nodes = graph_node_count(s->plan->g);
    if (s->plan->backend->stopwatch) return run_with_stopwatch(s, err);
    for (size_t i = 0; i < nodes; i++) {
        const double start = cpu_seconds();
        s->plan->steps[i].kernel->run(&s->args[i]);
        LECO_TRY(synchronise(s, err));
        s->seconds[i] = cpu_seconds() - start;
    }
    return LECO_OK;
}

leco_status session_run(session *s, leco_error *err)
{
    const bool away = !memory_is_host(memory_of(s));
    if (away) LECO_TRY(with_buffers(s->plan, weight_fill, err)); /* what changed since any session ran */
    if (s->bound_to != workspace_start(s->workspace)) {
        forget_recording(s);
        bind(s);
    }
    if (away) LECO_TRY(move_params(s, TENSOR_PARAM, err));
    if (s->seconds != NULL)
        LECO_TRY(run_profiled(s, err));
    else if (s->plan->backend->recorder)
        LECO_TRY(run_recorded(s, err));
    else
        run_nodes(s);
    LECO_TRY(synchronise(s, err));
    return away ? move_params(s, TENSOR_PARAM_GRAD, err) : LECO_OK;
}

leco_status session_profile(session *s, bool on, leco_error *err)
{
    mem_free(s->seconds);
    s->seconds = NULL;
    if (!on) return LECO_OK;
    size_t nodes = graph_node_count(s->plan->g);
    s->seconds = mem_calloc(nodes, sizeof *s->seconds);
    return s->seconds == NULL ? error_memory(err, nodes * sizeof *s->seconds, "a profile") : LECO_OK;
}

const double *session_seconds(const session *s)
{
    return s->seconds;
}
