#include "graph/graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/mem.h"
#include "graph/internal.h"

graph *graph_create(dtype compute)
{
    graph *g = mem_calloc(1, sizeof *g);
    if (g == NULL) return NULL;
    g->compute = compute;
    g->memory = arena_create();
    if (g->memory == NULL) {
        mem_free(g);
        return NULL;
    }
    g->name = "";
    return g;
}

void graph_destroy(graph *g)
{
    if (g == NULL) return;
    arena_destroy(g->memory);
    mem_free(g->nodes);
    mem_free(g->tensors);
    mem_free(g);
}

size_t graph_bytes(const graph *g)
{
    return sizeof *g + arena_bytes(g->memory) + g->node_capacity * sizeof *g->nodes +
           g->tensor_capacity * sizeof *g->tensors;
}

dtype graph_dtype(const graph *g)
{
    return g->compute;
}

dtype graph_exact_dtype(const graph *g)
{
    return g->compute == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
}

bool graph_ok(const graph *g)
{
    return g->error.status == LECO_OK;
}

void *graph_fail(graph *g, leco_status status, const char *format, ...)
{
    if (!graph_ok(g)) return NULL;
    g->error.status = status;
    va_list args;
    va_start(args, format);
    vsnprintf(g->error.message, sizeof g->error.message, format, args);
    va_end(args);
    return NULL;
}

static void *fail_memory(graph *g)
{
    return graph_fail(g, LECO_MEMORY, "out of memory while building a graph");
}

leco_status graph_finish(graph *g, leco_error *err)
{
    if (!graph_ok(g)) return error_set(err, g->error.status, "%s", g->error.message);
    return LECO_OK;
}

void graph_set_name(graph *g, const char *name)
{
    if (!graph_ok(g)) return;
    char *copy = arena_strdup(g->memory, name);
    if (copy == NULL) {
        fail_memory(g);
        return;
    }
    g->name = copy;
}

/* Room for one more element in a vector of pointers; false when memory runs out. */
static bool vector_grow(void **items, size_t count, size_t *capacity)
{
    if (count < *capacity) return true;
    size_t larger = *capacity == 0 ? 256 : *capacity * 2;
    void *grown = mem_realloc(*items, larger, sizeof(void *));
    if (grown == NULL) return false;
    *items = grown;
    *capacity = larger;
    return true;
}

static tensor *tensor_new(graph *g, tensor_kind kind, dtype type, shape s, const char *name)
{
    if (!graph_ok(g)) return NULL;
    void *items = g->tensors;
    bool room = vector_grow(&items, g->tensor_count, &g->tensor_capacity);
    g->tensors = items;
    tensor *t = room ? arena_alloc(g->memory, 1, sizeof *t) : NULL;
    if (t == NULL) return fail_memory(g);
    t->kind = kind;
    t->type = type;
    t->shape = s;
    t->name = name;
    t->id = (int)g->tensor_count;
    g->tensors[g->tensor_count++] = t;
    return t;
}

/* Dimensions must be positive and their product must not come near overflowing a byte count. */
static bool shape_is_sane(graph *g, const char *name, const shape *s)
{
    int64_t count = 1;
    for (int i = 0; i < s->rank; i++) {
        if (s->dim[i] <= 0 || s->dim[i] > INT64_C(1) << 40 || count > (INT64_C(1) << 40) / s->dim[i]) {
            char text[SHAPE_TEXT];
            graph_fail(g, LECO_INVALID, "%s: shape %s is empty or too large", name, shape_format(s, text));
            return false;
        }
        count *= s->dim[i];
    }
    return true;
}

tensor *graph_input(graph *g, const char *name, dtype type, shape s)
{
    if (!graph_ok(g) || !shape_is_sane(g, name, &s)) return NULL;
    char *copy = arena_strdup(g->memory, name);
    if (copy == NULL) return fail_memory(g);
    return tensor_new(g, TENSOR_INPUT, type, s, copy);
}

tensor *graph_weight(graph *g, weight *w)
{
    for (size_t i = 0; i < g->tensor_count; i++) {
        if (g->tensors[i]->weight == w) return g->tensors[i];
    }
    if (!graph_ok(g) || !shape_is_sane(g, w->name, &w->shape)) return NULL;
    tensor *t = tensor_new(g, TENSOR_WEIGHT, g->compute, w->shape, w->name);
    if (t != NULL) t->weight = w;
    return t;
}

tensor *graph_param(graph *g, param *p)
{
    for (size_t i = 0; i < g->tensor_count; i++) {
        if (g->tensors[i]->kind == TENSOR_PARAM && g->tensors[i]->param == p) return g->tensors[i];
    }
    if (!graph_ok(g) || !shape_is_sane(g, p->name, &p->shape)) return NULL;
    if (p->type != graph_exact_dtype(g)) {
        return graph_fail(g, LECO_INVALID, "%s is %s, the graph keeps parameters in %s", p->name, dtype_name(p->type),
                          dtype_name(graph_exact_dtype(g)));
    }
    tensor *t = tensor_new(g, TENSOR_PARAM, p->type, p->shape, p->name);
    if (t == NULL) return NULL;
    t->param = p;
    t->trainable = p->trained;
    return t;
}

void graph_result(graph *g, tensor *t)
{
    if (graph_ok(g)) t->is_result = true;
}

void graph_begin_block(graph *g)
{
    g->block = ++g->blocks;
}

void graph_end_block(graph *g)
{
    g->block = 0;
}

int graph_block_count(const graph *g)
{
    return g->blocks;
}

void graph_recompute(graph *g, int blocks)
{
    g->recomputed = blocks;
}

void graph_want_gradient(graph *g, tensor *input)
{
    if (graph_ok(g)) input->trainable = true;
}

node *graph_node(graph *g, op_code op, const node_attr *attr, tensor *const *inputs, int input_count)
{
    if (!graph_ok(g)) return NULL;
    void *items = g->nodes;
    bool room = vector_grow(&items, g->node_count, &g->node_capacity);
    g->nodes = items;
    node *n = room ? arena_alloc(g->memory, 1, sizeof *n) : NULL;
    if (n == NULL) return fail_memory(g);
    n->op = op;
    n->attr = *attr;
    n->id = (int)g->node_count;
    n->name = g->name;
    n->backward = g->walking_back;
    n->block = g->block;
    for (int i = 0; i < input_count; i++) n->input[i] = inputs[i];
    if (!op_rules[op]->infer(g, n) || !graph_ok(g)) return NULL;

    bool trainable = false;
    for (int i = 0; i < input_count; i++) trainable |= inputs[i] != NULL && inputs[i]->trainable;
    if (n->output[0] != NULL) n->output[0]->trainable = trainable && !g->walking_back;
    g->nodes[g->node_count++] = n;
    return n;
}

void graph_set_output(graph *g, node *n, int index, dtype type, shape s)
{
    if (!graph_ok(g) || !shape_is_sane(g, n->name, &s)) return;
    tensor *t = tensor_new(g, TENSOR_NODE, type, s, n->name);
    if (t == NULL) return;
    t->maker = n;
    t->maker_output = index;
    n->output[index] = t;
}

size_t graph_node_count(const graph *g)
{
    return g->node_count;
}

node *graph_node_at(const graph *g, size_t index)
{
    return g->nodes[index];
}

size_t graph_tensor_count(const graph *g)
{
    return g->tensor_count;
}

tensor *graph_tensor_at(const graph *g, size_t index)
{
    return g->tensors[index];
}

double node_flops(const node *n)
{
    return op_rules[n->op]->flops != NULL ? op_rules[n->op]->flops(n) : 0;
}
