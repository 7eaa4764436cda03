#include "graph/plan.h"

#include <stdlib.h>

#include "base/mem.h"
#include "graph/taken.h"

/* A run of memory alive from node `first` to node `last`, both included. Nodes are numbered from 0; -1 is before the
 * run, when the caller writes the inputs. */
typedef struct block {
    int first, last;
    size_t bytes, offset;
} block;

/* Blocks 0..tensors-1 belong to tensors (of[id] says which: shared memory), the rest to the nodes' scratch. */
typedef struct layout {
    const graph *g;
    block *blocks;
    size_t count;
    size_t *of;    /* [tensors] block of each */
    int *last_use; /* [tensors] */
} layout;

static bool in_arena(const tensor *t)
{
    return t->kind == TENSOR_NODE || t->kind == TENSOR_INPUT;
}

static size_t round_up(size_t bytes)
{
    return (bytes + PLAN_ALIGNMENT - 1) / PLAN_ALIGNMENT * PLAN_ALIGNMENT;
}

static size_t tensor_bytes(const tensor *t)
{
    return (size_t)shape_count(&t->shape) * dtype_size(t->type);
}

static void find_last_uses(layout *l)
{
    int end = (int)graph_node_count(l->g);
    for (size_t i = 0; i < graph_tensor_count(l->g); i++) {
        const tensor *t = graph_tensor_at(l->g, i);
        l->last_use[i] = t->is_result ? end : (t->maker != NULL ? t->maker->id : -1);
    }
    for (int i = 0; i < end; i++) {
        const node *n = graph_node_at(l->g, (size_t)i);
        for (int k = 0; k < NODE_MAX_INPUTS; k++) {
            const tensor *t = n->input[k];
            if (t != NULL && l->last_use[t->id] < i) l->last_use[t->id] = i;
        }
    }
}

/* The input whose memory output 0 of n may take over, or NULL. */
static const tensor *shared_input(const layout *l, const node *n)
{
    int index = op_rules[n->op]->shared_input;
    const tensor *out = n->output[0];
    if (index < 0 || out == NULL || out->kind != TENSOR_NODE) return NULL;
    const tensor *in = n->input[index];
    if (in == NULL || !in_arena(in) || l->last_use[in->id] != n->id || tensor_bytes(in) != tensor_bytes(out)) {
        return NULL;
    }
    for (int k = 0; k < NODE_MAX_INPUTS; k++) {
        if (k != index && n->input[k] == in) return NULL;
    }
    return in;
}

static void make_blocks(layout *l, const size_t *scratch_bytes)
{
    size_t tensors = graph_tensor_count(l->g);
    for (size_t i = 0; i < tensors; i++) {
        const tensor *t = graph_tensor_at(l->g, i);
        l->of[i] = i;
        if (!in_arena(t)) continue;
        int first = t->maker != NULL ? t->maker->id : -1;
        l->blocks[i] = (block){first, l->last_use[i], round_up(tensor_bytes(t)), 0};
    }
    for (size_t i = 0; i < graph_node_count(l->g); i++) {
        const node *n = graph_node_at(l->g, i);
        l->blocks[tensors + i] = (block){(int)i, (int)i, round_up(scratch_bytes[i]), 0};
        const tensor *in = shared_input(l, n);
        if (in == NULL) continue;
        /* Makers come before readers, so in's own block is already final. */
        const tensor *out = n->output[0];
        size_t shared = l->of[in->id];
        l->of[out->id] = shared;
        l->blocks[shared].last = l->last_use[out->id];
        l->blocks[out->id].bytes = 0;
    }
}

static int by_size(const void *a, const void *b)
{
    const block *x = *(block *const *)a, *y = *(block *const *)b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x < y ? -1 : 1;
}

/* Largest first: the big activations settle at the bottom and small tensors fill the gaps between them. Each block goes
 * to the lowest offset that is free for all of its life. */
static leco_status place_blocks(block *const *order, size_t count, taken *t, size_t *peak, leco_error *err)
{
    *peak = 0;
    for (size_t i = 0; i < count; i++) {
        block *b = order[i];
        const size_t first = (size_t)(b->first + 1), last = (size_t)(b->last + 1);
        b->offset = taken_fit(t, first, last, b->bytes);
        if (!taken_add(t, first, last, b->offset, b->bytes)) return error_memory(err, 0, "the memory plan");
        if (b->offset + b->bytes > *peak) *peak = b->offset + b->bytes;
    }
    return LECO_OK;
}

static leco_status place_all(layout *l, size_t *peak, leco_error *err)
{
    block **order = mem_calloc(l->count, sizeof(block *));
    taken *t = taken_create(graph_node_count(l->g) + 2);
    leco_status status = LECO_OK;
    if (order == NULL || t == NULL) status = error_memory(err, l->count * sizeof(block *), "the memory plan");
    size_t count = 0;
    for (size_t i = 0; i < l->count && status == LECO_OK; i++) {
        if (l->blocks[i].bytes > 0) order[count++] = &l->blocks[i];
    }
    if (status == LECO_OK) {
        qsort(order, count, sizeof(block *), by_size);
        status = place_blocks(order, count, t, peak, err);
    }
    taken_destroy(t);
    mem_free(order);
    return status;
}

/* The most bytes alive at once: a running sum over births and deaths. */
static leco_status most_alive(const layout *l, size_t *most, leco_error *err)
{
    size_t moments = graph_node_count(l->g) + 3;
    size_t *born = mem_calloc(moments * 2, sizeof(size_t));
    if (born == NULL) return error_memory(err, moments * 2 * sizeof(size_t), "the memory plan");
    size_t *dead = born + moments;
    for (size_t i = 0; i < l->count; i++) {
        born[l->blocks[i].first + 1] += l->blocks[i].bytes;
        dead[l->blocks[i].last + 2] += l->blocks[i].bytes;
    }
    size_t alive = 0;
    *most = 0;
    for (size_t i = 0; i < moments; i++) {
        alive = alive + born[i] - dead[i];
        if (alive > *most) *most = alive;
    }
    mem_free(born);
    return LECO_OK;
}

static void read_offsets(const layout *l, memory_plan *out)
{
    size_t tensors = graph_tensor_count(l->g);
    for (size_t i = 0; i < tensors; i++) {
        bool inside = in_arena(graph_tensor_at(l->g, i));
        out->tensor[i] = inside ? l->blocks[l->of[i]].offset : PLAN_NOWHERE;
    }
    for (size_t i = 0; i < graph_node_count(l->g); i++) out->scratch[i] = l->blocks[tensors + i].offset;
}

leco_status plan_create(const graph *g, const size_t *scratch_bytes, memory_plan *out, leco_error *err)
{
    size_t tensors = graph_tensor_count(g), nodes = graph_node_count(g);
    layout l = {.g = g, .count = tensors + nodes};
    l.blocks = mem_calloc(l.count, sizeof(block));
    l.of = mem_calloc(tensors, sizeof(size_t));
    l.last_use = mem_calloc(tensors, sizeof(int));
    memory_plan p = {.tensor = mem_calloc(tensors, sizeof(size_t)), .scratch = mem_calloc(nodes, sizeof(size_t))};
    leco_status status = LECO_OK;
    if (l.blocks == NULL || l.of == NULL || l.last_use == NULL || p.tensor == NULL || p.scratch == NULL) {
        status = error_memory(err, l.count * sizeof(block), "the memory plan");
    }
    if (status == LECO_OK) {
        find_last_uses(&l);
        make_blocks(&l, scratch_bytes);
        status = place_all(&l, &p.arena_bytes, err);
    }
    if (status == LECO_OK) status = most_alive(&l, &p.live_bytes, err);
    if (status == LECO_OK) {
        read_offsets(&l, &p);
        *out = p;
    } else {
        plan_free(&p);
    }
    mem_free(l.blocks);
    mem_free(l.of);
    mem_free(l.last_use);
    return status;
}

void plan_free(memory_plan *p)
{
    mem_free(p->tensor);
    mem_free(p->scratch);
    *p = (memory_plan){0};
}
