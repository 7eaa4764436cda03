#include "machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

#define GUARD 256

/* block: GUARD bytes, the data, GUARD bytes. copy holds what an input should still be after a run. On a device with
 * memory of its own `away` is as large as block, which goes there before a run and comes back after it. */
typedef struct buffer {
    unsigned char *block, *copy, *away;
    size_t bytes;
} buffer;

typedef struct step {
    const kernel *kernel;
    kernel_plan plan;
    buffer scratch;
} step;

struct machine {
    trial *t;
    const device_memory *memory;
    buffer *tensors; /* by tensor id; no block for weights */
    step *steps;     /* by node id */
    char problem[512];
};

static unsigned char guard_byte(size_t i)
{
    return (unsigned char)(0xa5u ^ (i * 7));
}

static unsigned char *buffer_data(const buffer *b)
{
    return b->block + GUARD;
}

/* Where kernels find it. */
static unsigned char *buffer_bound(const buffer *b)
{
    return (b->away ? b->away : b->block) + GUARD;
}

static void buffer_open(buffer *b, const device_memory *memory, size_t bytes)
{
    b->bytes = bytes;
    if (!memory_is_host(memory)) {
        b->away = memory->alloc(bytes + 2 * GUARD);
        assert_non_null(b->away);
    }
    b->block = mem_aligned(bytes + 2 * GUARD);
    b->copy = mem_calloc(bytes, 1);
    assert_non_null(b->block);
    assert_non_null(b->copy);
    for (size_t i = 0; i < GUARD; i++) b->block[i] = b->block[GUARD + bytes + i] = guard_byte(i);
    memset(buffer_data(b), 0xff, bytes); /* NaN in every dtype */
}

static bool buffer_guards_hold(const buffer *b)
{
    for (size_t i = 0; i < GUARD; i++) {
        if (b->block[i] != guard_byte(i) || b->block[GUARD + b->bytes + i] != guard_byte(i)) return false;
    }
    return true;
}

static void buffer_close(buffer *b, const device_memory *memory)
{
    if (b->away) memory->free(b->away);
    mem_free_aligned(b->block);
    mem_free(b->copy);
}

static void convert(void *data, dtype type, const double *values, size_t count)
{
    if (type != DTYPE_I32) {
        dtype_convert(data, type, values, DTYPE_F64, count);
        return;
    }
    for (size_t i = 0; i < count; i++) ((int32_t *)data)[i] = (int32_t)values[i];
}

void machine_write(machine *m, const tensor *x, const double *values)
{
    convert(buffer_data(&m->tensors[x->id]), x->type, values, (size_t)shape_count(&x->shape));
}

void machine_read(const machine *m, const tensor *x, double *values)
{
    dtype_convert(values, DTYPE_F64, buffer_data(&m->tensors[x->id]), x->type, (size_t)shape_count(&x->shape));
}

void machine_set(machine *m, const tensor *x, size_t index, double value)
{
    dtype_convert(buffer_data(&m->tensors[x->id]) + index * dtype_size(x->type), x->type, &value, DTYPE_F64, 1);
}

static void prepare_step(machine *m, const backend *b, const node *n)
{
    leco_error err;
    step *s = &m->steps[n->id];
    dtype compute = graph_dtype(m->t->g);
    const char *op = op_name(n->op);
    s->kernel = b->kernel_for(n->op, compute);
    if (s->kernel == NULL || s->kernel->run == NULL) {
        fail_msg("%s: backend %s has no kernel for %s in %s", m->t->c->name, b->name, op, dtype_name(compute));
    }
    const kernel_site at = {n, compute, b->memory};
    leco_status status = kernel_plan_node(s->kernel, &at, &s->plan, &err);
    const size_t planned = s->plan.scratch_bytes;
    if (status == LECO_OK) status = kernel_prepare(s->kernel, &at, &s->plan, &err);
    assert_true(s->plan.scratch_bytes == planned);
    if (status != LECO_OK) fail_msg("%s: preparing %s: %s", m->t->c->name, op, err.message);
    buffer_open(&s->scratch, b->memory, s->plan.scratch_bytes);
}

machine *machine_create(trial *t, const backend *b)
{
    machine *m = mem_calloc(1, sizeof *m);
    assert_non_null(m);
    m->t = t;
    m->memory = b->memory;
    m->tensors = mem_calloc(graph_tensor_count(t->g), sizeof *m->tensors);
    m->steps = mem_calloc(graph_node_count(t->g), sizeof *m->steps);
    assert_non_null(m->tensors);
    assert_non_null(m->steps);
    for (size_t i = 0; i < graph_tensor_count(t->g); i++) {
        const tensor *x = graph_tensor_at(t->g, i);
        if (x->kind != TENSOR_WEIGHT)
            buffer_open(&m->tensors[i], b->memory, (size_t)shape_count(&x->shape) * dtype_size(x->type));
    }
    for (int i = 0; i < t->leaf_count; i++) {
        if (t->leaves[i].tensor->kind != TENSOR_WEIGHT) machine_write(m, t->leaves[i].tensor, t->leaves[i].values);
    }
    for (size_t i = 0; i < graph_node_count(t->g); i++) prepare_step(m, b, graph_node_at(t->g, i));
    return m;
}

void machine_destroy(machine *m)
{
    if (m == NULL) return;
    for (size_t i = 0; i < graph_node_count(m->t->g); i++) {
        step *s = &m->steps[i];
        kernel_release(s->kernel, &s->plan);
        buffer_close(&s->scratch, m->memory);
    }
    for (size_t i = 0; i < graph_tensor_count(m->t->g); i++) buffer_close(&m->tensors[i], m->memory);
    mem_free(m->steps);
    mem_free(m->tensors);
    mem_free(m);
}

bool node_can_share(const node *n)
{
    int index = op_rules[n->op]->shared_input;
    if (index < 0 || n->output[0] == NULL || n->output[0]->kind != TENSOR_NODE) return false;
    const tensor *in = n->input[index];
    if (in == NULL || (in->kind != TENSOR_NODE && in->kind != TENSOR_INPUT)) return false;
    for (int k = 0; k < NODE_MAX_INPUTS; k++) {
        if (k != index && n->input[k] == in) return false;
    }
    return true;
}

static kernel_args bind(machine *m, const node *n)
{
    step *s = &m->steps[n->id];
    kernel_args args = {.node = n, .plan = &s->plan, .scratch = buffer_bound(&s->scratch)};
    for (int k = 0; k < NODE_MAX_INPUTS; k++) {
        const tensor *x = n->input[k];
        if (x != NULL) args.input[k] = x->kind == TENSOR_WEIGHT ? s->plan.weight[k] : buffer_bound(&m->tensors[x->id]);
    }
    for (int k = 0; k < NODE_MAX_OUTPUTS; k++) {
        if (n->output[k] != NULL) args.output[k] = buffer_bound(&m->tensors[n->output[k]->id]);
    }
    return args;
}

typedef leco_status carry(void *to, const void *from, size_t bytes, leco_error *err);

static void carry_buffer(const buffer *b, carry *there, carry *back)
{
    leco_error err;
    const size_t bytes = b->bytes + 2 * GUARD;
    leco_status status = there ? there(b->away, b->block, bytes, &err) : back(b->block, b->away, bytes, &err);
    if (status != LECO_OK) fail_msg("%s", err.message);
}

/* All that a node could reach, to the device or (there is NULL) back. */
static void carry_node(machine *m, const node *n, carry *there, carry *back)
{
    if (memory_is_host(m->memory)) return;
    for (int k = 0; k < NODE_MAX_INPUTS; k++) {
        const tensor *x = n->input[k];
        if (x != NULL && x->kind != TENSOR_WEIGHT) carry_buffer(&m->tensors[x->id], there, back);
    }
    for (int k = 0; k < NODE_MAX_OUTPUTS; k++)
        if (n->output[k] != NULL) carry_buffer(&m->tensors[n->output[k]->id], there, back);
    carry_buffer(&m->steps[n->id].scratch, there, back);
}

static void run_kernel(machine *m, const node *n, const kernel_args *args)
{
    leco_error err;
    carry_node(m, n, m->memory->upload, NULL);
    m->steps[n->id].kernel->run(args);
    if (!memory_is_host(m->memory) && m->memory->synchronise(&err) != LECO_OK)
        fail_msg("%s: %s: %s", m->t->c->name, op_name(n->op), err.message);
    carry_node(m, n, NULL, m->memory->download);
}

static bool problem(machine *m, const node *n, const char *what, const char *role, int index)
{
    snprintf(m->problem, sizeof m->problem, "%s: the kernel of %s %s %s %d", m->t->c->name, op_name(n->op), what, role,
             index);
    return false;
}

/* Guards of everything that the node could reach, and whether its inputs are as they were. */
static bool inspect(machine *m, const node *n)
{
    for (int k = 0; k < NODE_MAX_OUTPUTS; k++) {
        if (n->output[k] != NULL && !buffer_guards_hold(&m->tensors[n->output[k]->id])) {
            return problem(m, n, "wrote outside of", "output", k);
        }
    }
    if (!buffer_guards_hold(&m->steps[n->id].scratch)) return problem(m, n, "wrote outside of", "scratch", 0);
    for (int k = 0; k < NODE_MAX_INPUTS; k++) {
        const tensor *x = n->input[k];
        if (x == NULL || x->kind == TENSOR_WEIGHT) continue;
        const buffer *b = &m->tensors[x->id];
        if (!buffer_guards_hold(b)) return problem(m, n, "wrote outside of", "input", k);
        if (memcmp(buffer_data(b), b->copy, b->bytes) != 0) return problem(m, n, "changed", "input", k);
    }
    return true;
}

bool machine_run_node(machine *m, int id, bool shared)
{
    const node *n = graph_node_at(m->t->g, (size_t)id);
    kernel_args args = bind(m, n);
    for (int k = 0; k < NODE_MAX_INPUTS; k++) {
        const tensor *x = n->input[k];
        if (x == NULL || x->kind == TENSOR_WEIGHT) continue;
        buffer *b = &m->tensors[x->id];
        memcpy(b->copy, buffer_data(b), b->bytes);
    }
    for (int k = 0; k < NODE_MAX_OUTPUTS; k++) {
        if (n->output[k] == NULL) continue;
        const buffer *b = &m->tensors[n->output[k]->id];
        memset(buffer_data(b), 0xff, b->bytes);
    }
    memset(buffer_data(&m->steps[id].scratch), 0xff, m->steps[id].plan.scratch_bytes);
    if (shared && node_can_share(n)) {
        /* The input's contents move into the output's memory, which saves working out who else reads the input. */
        int index = op_rules[n->op]->shared_input;
        const buffer *in = &m->tensors[n->input[index]->id];
        const buffer *out = &m->tensors[n->output[0]->id];
        assert_true(in->bytes == out->bytes);
        memcpy(buffer_data(out), buffer_data(in), in->bytes);
        args.input[index] = args.output[0];
    }
    run_kernel(m, n, &args);
    return inspect(m, n);
}

bool machine_run(machine *m, int last, bool shared)
{
    for (int i = 0; i <= last; i++) {
        if (!machine_run_node(m, i, shared)) return false;
    }
    return true;
}

const char *machine_problem(const machine *m)
{
    return m->problem;
}

void machine_run_bare(machine *m, int id)
{
    const node *n = graph_node_at(m->t->g, (size_t)id);
    const kernel_args args = bind(m, n);
    run_kernel(m, n, &args);
}

void trial_mark_results(trial *t)
{
    if (t->y->kind == TENSOR_NODE) graph_result(t->g, t->y);
    for (int i = 0; i < t->leaf_count; i++) {
        if (t->leaves[i].grad != NULL) graph_result(t->g, t->leaves[i].grad);
    }
}

void trial_load(const trial *t, session *s)
{
    for (int i = 0; i < t->leaf_count; i++) {
        const leaf *l = &t->leaves[i];
        if (l->tensor->kind == TENSOR_INPUT) convert(session_data(s, l->tensor), l->tensor->type, l->values, l->count);
    }
}
