#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "backend/backend.h"
#include "base/cpu.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/room.h"
#include "graph/plan.h"

struct workspace {
    unsigned char *memory;
    size_t bytes;
};

workspace *workspace_create(void)
{
    return mem_calloc(1, sizeof(workspace));
}

void workspace_destroy(workspace *w)
{
    if (w == NULL) return;
    mem_free_aligned(w->memory);
    mem_free(w);
}

size_t workspace_bytes(const workspace *w)
{
    return w->bytes;
}

static leco_status workspace_reserve(workspace *w, size_t bytes, leco_error *err)
{
    if (bytes <= w->bytes) return LECO_OK;
    unsigned char *larger = mem_aligned(bytes);
    if (larger == NULL) return error_memory(err, bytes, "activations");
    mem_free_aligned(w->memory);
    w->memory = larger;
    w->bytes = bytes;
    return LECO_OK;
}

/* A node bound to its kernel. */
typedef struct step {
    const kernel *kernel;
    kernel_plan plan;
    kernel_args args; /* pointers into the workspace as it was at `bound_to` */
} step;

struct session {
    const graph *g;
    workspace *workspace;
    step *steps;
    size_t prepared; /* steps whose plan must be released */
    memory_plan memory;
    const unsigned char *bound_to;
    double *seconds; /* NULL: not profiling */
};

/* The default preparation: every weight as row-major compute dtype. */
static leco_status prepare_plain(const node *n, dtype compute, kernel_plan *plan, leco_error *err)
{
    for (int i = 0; i < NODE_MAX_INPUTS; i++) {
        const tensor *t = n->input[i];
        if (t != NULL && t->kind == TENSOR_WEIGHT) LECO_TRY(weight_plain(t->weight, compute, &plan->weight[i], err));
    }
    return LECO_OK;
}

static leco_status prepare_step(session *s, const backend *b, const node *n, leco_error *err)
{
    dtype compute = graph_dtype(s->g);
    step *st = &s->steps[n->id];
    st->kernel = b->kernel_for(n->op, compute);
    if (st->kernel == NULL) {
        return error_set(err, LECO_UNSUPPORTED, "%s: the %s backend has no kernel for %s in %s", n->name, b->name,
                         op_name(n->op), dtype_name(compute));
    }
    LECO_TRY(room_for_kernels(err));
    s->prepared = (size_t)n->id + 1;
    return st->kernel->prepare != NULL ? st->kernel->prepare(n, compute, &st->plan, err)
                                       : prepare_plain(n, compute, &st->plan, err);
}

static leco_status plan_memory(session *s, leco_error *err)
{
    size_t nodes = graph_node_count(s->g);
    size_t *scratch = mem_calloc(nodes, sizeof *scratch);
    if (scratch == NULL) return error_memory(err, nodes * sizeof *scratch, "the memory plan");
    for (size_t i = 0; i < nodes; i++) scratch[i] = s->steps[i].plan.scratch_bytes;
    leco_status status = plan_create(s->g, scratch, &s->memory, err);
    mem_free(scratch);
    if (status != LECO_OK) return status;
    return workspace_reserve(s->workspace, s->memory.arena_bytes, err);
}

static leco_status session_fill(session *s, const backend *b, leco_error *err)
{
    size_t nodes = graph_node_count(s->g);
    s->steps = mem_calloc(nodes, sizeof *s->steps);
    if (s->steps == NULL) return error_memory(err, nodes * sizeof *s->steps, "a session");
    LECO_TRY(room_for_threads(err));
    for (size_t i = 0; i < nodes; i++) LECO_TRY(prepare_step(s, b, graph_node_at(s->g, i), err));
    LECO_TRY(plan_memory(s, err));
    return room_for_kernels(err); /* running takes a little, too */
}

leco_status session_create(graph *g, const backend *b, workspace *w, session **out, leco_error *err)
{
    LECO_TRY(graph_finish(g, err));
    if (!b->supports(graph_dtype(g))) {
        return error_set(err, LECO_UNSUPPORTED, "the %s backend does not compute in %s", b->name,
                         dtype_name(graph_dtype(g)));
    }
    session *s = mem_calloc(1, sizeof *s);
    if (s == NULL) return error_memory(err, sizeof *s, "a session");
    s->g = g;
    s->workspace = w;
    leco_status status = session_fill(s, b, err);
    if (status != LECO_OK) {
        session_destroy(s);
        return status;
    }
    *out = s;
    return LECO_OK;
}

/* One line an operator: "conv2d: 52 by brgconv:avx512_core_amx, 3 by gathered windows". */
static void log_chosen(const session *s, op_code op)
{
    enum { MOST = 16 };
    const char *name[MOST];
    size_t count[MOST], names = 0, used = 0;
    char text[1024] = "";
    for (size_t i = 0; i < graph_node_count(s->g); i++) {
        const step *st = &s->steps[i];
        if (graph_node_at(s->g, i)->op != op || !st->kernel->chosen) continue;
        const char *chosen = st->kernel->chosen(&st->plan);
        size_t at = 0;
        while (at < names && strcmp(name[at], chosen) != 0) at++;
        if (at == MOST) continue;
        if (at == names) {
            name[names] = chosen;
            count[names++] = 0;
        }
        count[at]++;
    }
    for (size_t i = 0; i < names && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%zu by %s", i ? ", " : "", count[i], name[i]);
    if (names > 0) log_message(LOG_DEBUG, "  %s: %s", op_name(op), text);
}

void session_log_chosen(const session *s)
{
    for (int op = 0; op < OP_COUNT; op++) log_chosen(s, (op_code)op);
}

void session_destroy(session *s)
{
    if (s == NULL) return;
    for (size_t i = 0; i < s->prepared; i++) {
        step *st = &s->steps[i];
        if (st->kernel->release != NULL) st->kernel->release(&st->plan);
    }
    plan_free(&s->memory);
    mem_free(s->steps);
    mem_free(s->seconds);
    mem_free(s);
}

size_t session_bytes(const session *s)
{
    size_t nodes = graph_node_count(s->g);
    return sizeof *s + nodes * (sizeof *s->steps + sizeof *s->memory.scratch) +
           graph_tensor_count(s->g) * sizeof *s->memory.tensor;
}

size_t session_arena_bytes(const session *s)
{
    return s->memory.arena_bytes;
}

static void *tensor_memory(const session *s, const tensor *t)
{
    switch (t->kind) {
    case TENSOR_NODE:
    case TENSOR_INPUT:
        return s->workspace->memory + s->memory.tensor[t->id];
    case TENSOR_PARAM:
        return t->param->value;
    case TENSOR_PARAM_GRAD:
        return t->param->grad;
    case TENSOR_WEIGHT:
        break; /* kernel-specific: kernel_plan.weight */
    }
    return NULL;
}

/* Points all kernels at the workspace where it lies now. */
static void bind(session *s)
{
    for (size_t i = 0; i < graph_node_count(s->g); i++) {
        const node *n = graph_node_at(s->g, i);
        step *st = &s->steps[i];
        st->args = (kernel_args){.node = n, .plan = &st->plan};
        for (int k = 0; k < NODE_MAX_INPUTS; k++) {
            const tensor *t = n->input[k];
            if (t == NULL) continue;
            st->args.input[k] = t->kind == TENSOR_WEIGHT ? st->plan.weight[k] : tensor_memory(s, t);
        }
        for (int k = 0; k < NODE_MAX_OUTPUTS; k++) {
            if (n->output[k] != NULL) st->args.output[k] = tensor_memory(s, n->output[k]);
        }
        st->args.scratch = s->workspace->memory + s->memory.scratch[i];
    }
    s->bound_to = s->workspace->memory;
}

void *session_data(session *s, const tensor *t)
{
    return tensor_memory(s, t);
}

void session_write(session *s, const tensor *t, const float *values, size_t count)
{
    assert(t->kind == TENSOR_INPUT && count == (size_t)shape_count(&t->shape));
    dtype_convert(tensor_memory(s, t), t->type, values, DTYPE_F32, count);
}

void session_write_i32(session *s, const tensor *t, const int32_t *values, size_t count)
{
    assert(t->kind == TENSOR_INPUT && t->type == DTYPE_I32 && count == (size_t)shape_count(&t->shape));
    memcpy(tensor_memory(s, t), values, count * sizeof *values);
}

void session_read(session *s, const tensor *t, float *values, size_t count)
{
    assert(t->is_result && count == (size_t)shape_count(&t->shape));
    dtype_convert(values, DTYPE_F32, tensor_memory(s, t), t->type, count);
}

void session_run(session *s)
{
    if (s->bound_to != s->workspace->memory) bind(s);
    size_t nodes = graph_node_count(s->g);
    for (size_t i = 0; i < nodes; i++) {
        double start = s->seconds != NULL ? cpu_seconds() : 0;
        s->steps[i].kernel->run(&s->steps[i].args);
        if (s->seconds != NULL) s->seconds[i] = cpu_seconds() - start;
    }
}

leco_status session_profile(session *s, bool on, leco_error *err)
{
    mem_free(s->seconds);
    s->seconds = NULL;
    if (!on) return LECO_OK;
    size_t nodes = graph_node_count(s->g);
    s->seconds = mem_calloc(nodes, sizeof *s->seconds);
    return s->seconds == NULL ? error_memory(err, nodes * sizeof *s->seconds, "a profile") : LECO_OK;
}

const double *session_seconds(const session *s)
{
    return s->seconds;
}
