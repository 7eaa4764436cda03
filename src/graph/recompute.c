#include "graph/recompute.h"

#include "base/mem.h"
#include "graph/internal.h"

/* ---- copies ---- */

static tensor *copy_of(const recompute *r, tensor *t)
{
    if (t == NULL || t->maker == NULL || t->maker->block != r->block || t->maker->again) return t;
    const size_t at = (size_t)(t->maker->id - r->first);
    return at < r->count && r->copy[at] != NULL ? r->copy[at]->output[t->maker_output] : t;
}

static void emit(recompute *r, graph *g, size_t at)
{
    node *source = r->source[at];
    tensor *inputs[NODE_MAX_INPUTS];
    for (int i = 0; i < NODE_MAX_INPUTS; i++) inputs[i] = copy_of(r, source->input[i]);
    g->name = source->name;
    node *n = graph_node(g, source->op, &source->attr, inputs, NODE_MAX_INPUTS);
    if (n == NULL) return;
    n->again = true;
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++)
        if (n->output[i] != NULL && source->output[i] != NULL) n->output[i]->trainable = source->output[i]->trainable;
    r->copy[at] = n;
}

/* Block `block`, of which `last` is the last node. Its nodes follow each other: blocks don't nest. */
static void begin(recompute *r, graph *g, const node *last)
{
    recompute_free(r);
    int first = last->id;
    while (first > 0 && g->nodes[first - 1]->block == last->block) first--;
    r->count = (size_t)(last->id - first + 1);
    r->copy = mem_calloc(r->count, sizeof(node *));
    r->source = mem_calloc(r->count, sizeof(node *));
    if (r->copy == NULL || r->source == NULL) {
        graph_fail(g, LECO_MEMORY, "out of memory while building a graph");
        return;
    }
    r->block = last->block;
    r->first = first;
    for (size_t i = 0; i < r->count; i++) r->source[i] = g->nodes[(size_t)first + i];
    for (size_t i = 0; i < r->count && graph_ok(g); i++) emit(r, g, i);
}

const node *recompute_node(recompute *r, graph *g, const node *n)
{
    if (n->block == 0 || n->block > g->recomputed) return n;
    if (n->block != r->block) begin(r, g, n);
    return graph_ok(g) ? r->copy[n->id - r->first] : n;
}

const tensor *recompute_original(const recompute *r, const tensor *t)
{
    if (t->maker == NULL || !t->maker->again) return t;
    for (size_t i = 0; i < r->count; i++)
        if (r->copy[i] == t->maker) return r->source[i]->output[t->maker_output];
    return t;
}

void recompute_free(recompute *r)
{
    mem_free(r->copy);
    mem_free(r->source);
    *r = (recompute){0};
}

/* ---- what nobody reads ---- */

static bool is_read(const node *n, const size_t *readers)
{
    for (int i = 0; i < NODE_MAX_OUTPUTS; i++) {
        const tensor *t = n->output[i];
        if (t != NULL && (readers[t->id] > 0 || t->is_result || t->kind != TENSOR_NODE)) return true;
    }
    return false;
}

static void count_readers(const node *n, size_t *readers, bool less)
{
    for (int i = 0; i < NODE_MAX_INPUTS; i++) {
        if (n->input[i] == NULL) continue;
        readers[n->input[i]->id] += less ? (size_t)-1 : 1;
    }
}

/* Marks a node by taking its id away. */
static bool is_dropped(const node *n)
{
    return n->id < 0;
}

static void close_gaps(graph *g)
{
    size_t nodes = 0, tensors = 0;
    for (size_t i = 0; i < g->tensor_count; i++) {
        tensor *t = g->tensors[i];
        if (t->maker != NULL && is_dropped(t->maker)) continue;
        t->id = (int)tensors;
        g->tensors[tensors++] = t;
    }
    for (size_t i = 0; i < g->node_count; i++) {
        node *n = g->nodes[i];
        if (is_dropped(n)) continue;
        n->id = (int)nodes;
        g->nodes[nodes++] = n;
    }
    g->node_count = nodes;
    g->tensor_count = tensors;
}

void recompute_drop_unread(graph *g)
{
    if (!graph_ok(g) || g->recomputed == 0) return;
    size_t *readers = mem_calloc(g->tensor_count, sizeof *readers);
    if (readers == NULL) {
        graph_fail(g, LECO_MEMORY, "out of memory while building a graph");
        return;
    }
    for (size_t i = 0; i < g->node_count; i++) count_readers(g->nodes[i], readers, false);
    for (size_t i = g->node_count; i-- > 0;) {
        node *n = g->nodes[i];
        if (!n->again || is_read(n, readers)) continue;
        count_readers(n, readers, true);
        n->id = -1;
    }
    mem_free(readers);
    close_gaps(g);
}
