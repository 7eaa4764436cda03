#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/session_internal.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/room.h"

kernel_site session_site(const session_plan *p, size_t index)
{
    return (kernel_site){
        .node = graph_node_at(p->g, index), .compute = graph_dtype(p->g), .memory = p->backend->memory};
}

static leco_status plan_step(session_plan *p, size_t index, leco_error *err)
{
    const kernel_site at = session_site(p, index);
    step *s = &p->steps[index];
    s->kernel = p->backend->kernel_for(at.node->op, at.compute);
    if (s->kernel == NULL) {
        return error_set(err, LECO_UNSUPPORTED, "%s: the %s backend has no kernel for %s in %s", at.node->name,
                         p->backend->name, op_name(at.node->op), dtype_name(at.compute));
    }
    p->planned = index + 1;
    return kernel_plan_node(s->kernel, &at, &s->plan, err);
}

static size_t bytes_of(const tensor *t)
{
    return (size_t)shape_count(&t->shape) * dtype_size(t->type);
}

/* In the order in which their owner keeps them, so that neighbours there are neighbours on the device. */
static int by_kind_and_param(const void *a, const void *b)
{
    const tensor *x = *(const tensor *const *)a, *y = *(const tensor *const *)b;
    if (x->kind != y->kind) return x->kind == TENSOR_PARAM ? -1 : 1;
    return x->param < y->param ? -1 : x->param > y->param;
}

leco_status session_buffer(const session_plan *p, weight *buffer, weight_form **out, leco_error *err)
{
    return weight_want_plain(buffer, p->backend->memory, buffer->type, 1, out, err);
}

/* What a device needs beside the arena to be told and asked something by the host. */
static leco_status place_for_device(session_plan *p, leco_error *err)
{
    memory_plan *m = &p->memory;
    const size_t count = graph_tensor_count(p->g);
    p->moved = mem_calloc(count, sizeof *p->moved);
    if (p->moved == NULL) return error_memory(err, count * sizeof *p->moved, "a session's plan");
    for (size_t i = 0; i < count; i++) {
        const tensor *t = graph_tensor_at(p->g, i);
        if ((t->kind == TENSOR_INPUT || t->is_result) && bytes_of(t) > p->staging_bytes) p->staging_bytes = bytes_of(t);
        if (t->kind == TENSOR_PARAM || t->kind == TENSOR_PARAM_GRAD) p->moved[p->moved_count++] = t;
    }
    qsort(p->moved, p->moved_count, sizeof(const tensor *), by_kind_and_param);
    for (size_t i = 0; i < p->moved_count; i++) {
        weight_form *copy;
        if (p->moved[i]->kind == TENSOR_PARAM && p->moved[i]->param->buffer) {
            LECO_TRY(session_buffer(p, p->moved[i]->param->buffer, &copy, err));
            continue;
        }
        m->tensor[p->moved[i]->id] = m->arena_bytes;
        m->arena_bytes += (bytes_of(p->moved[i]) + PLAN_ALIGNMENT - 1) / PLAN_ALIGNMENT * PLAN_ALIGNMENT;
    }
    return LECO_OK;
}

static leco_status plan_arena(session_plan *p, leco_error *err)
{
    size_t nodes = graph_node_count(p->g);
    size_t *scratch = mem_calloc(nodes, sizeof *scratch);
    if (scratch == NULL) return error_memory(err, nodes * sizeof *scratch, "the memory plan");
    for (size_t i = 0; i < nodes; i++) scratch[i] = p->steps[i].plan.scratch_bytes;
    leco_status status = plan_create(p->g, scratch, &p->memory, err);
    mem_free(scratch);
    if (status != LECO_OK || memory_is_host(p->backend->memory)) return status;
    return place_for_device(p, err);
}

static int by_address(const void *a, const void *b)
{
    const uintptr_t x = (uintptr_t) * (weight_form *const *)a, y = (uintptr_t) * (weight_form *const *)b;
    return x < y ? -1 : x > y;
}

static leco_status count_weights(session_plan *p, leco_error *err)
{
    const size_t nodes = graph_node_count(p->g);
    weight_form **all = mem_calloc(nodes * NODE_MAX_INPUTS, sizeof(weight_form *));
    if (all == NULL) return error_memory(err, nodes * NODE_MAX_INPUTS * sizeof(weight_form *), "a session's plan");
    size_t count = 0;
    for (size_t i = 0; i < nodes; i++)
        for (int k = 0; k < NODE_MAX_INPUTS; k++)
            if (p->steps[i].plan.form[k] != NULL) all[count++] = p->steps[i].plan.form[k];
    qsort(all, count, sizeof(weight_form *), by_address);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || all[i] != all[i - 1]) p->weight_bytes += all[i]->bytes;
    mem_free(all);
    return LECO_OK;
}

static leco_status fill(session_plan *p, leco_error *err)
{
    size_t nodes = graph_node_count(p->g);
    p->steps = mem_calloc(nodes, sizeof *p->steps);
    if (p->steps == NULL) return error_memory(err, nodes * sizeof *p->steps, "a session's plan");
    LECO_TRY(room_for_threads(err)); /* kernels ask how many there are */
    LECO_TRY(room_for_kernels(err));
    for (size_t i = 0; i < nodes; i++) LECO_TRY(plan_step(p, i, err));
    LECO_TRY(count_weights(p, err));
    return plan_arena(p, err);
}

leco_status session_plan_create(graph *g, const backend *b, session_plan **out, leco_error *err)
{
    *out = NULL;
    LECO_TRY(graph_finish(g, err));
    if (!b->supports(graph_dtype(g))) {
        return error_set(err, LECO_UNSUPPORTED, "the %s backend does not compute in %s", b->name,
                         dtype_name(graph_dtype(g)));
    }
    session_plan *p = mem_calloc(1, sizeof *p);
    if (p == NULL) return error_memory(err, sizeof *p, "a session's plan");
    p->g = g;
    p->backend = b;
    leco_status status = fill(p, err);
    if (status != LECO_OK) {
        session_plan_destroy(p);
        return status;
    }
    *out = p;
    return LECO_OK;
}

void session_plan_destroy(session_plan *p)
{
    if (p == NULL) return;
    for (size_t i = 0; i < p->planned; i++) kernel_release(p->steps[i].kernel, &p->steps[i].plan);
    plan_free(&p->memory);
    mem_free(p->moved);
    mem_free(p->steps);
    mem_free(p);
}

size_t session_plan_arena_bytes(const session_plan *p)
{
    return p->memory.arena_bytes;
}

size_t session_plan_weight_bytes(const session_plan *p)
{
    return p->weight_bytes;
}

/* One line an operator: "conv2d: 52 by brgconv:avx512_core_amx, 3 by gathered windows". */
static void log_chosen(const session_plan *p, op_code op)
{
    enum { MOST = 16 };
    const char *name[MOST];
    size_t count[MOST], names = 0, used = 0;
    char text[1024] = "";
    for (size_t i = 0; i < graph_node_count(p->g); i++) {
        const step *s = &p->steps[i];
        if (graph_node_at(p->g, i)->op != op || !s->kernel->chosen) continue;
        const char *chosen = s->kernel->chosen(&s->plan);
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

void session_plan_log_chosen(const session_plan *p)
{
    for (int op = 0; op < OP_COUNT; op++) log_chosen(p, (op_code)op);
}
