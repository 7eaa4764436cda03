/* The reverse walk. Gradients are more graph: each operator's rule emits ordinary nodes. The walk visits nodes in
 * reverse execution order, so when a node is reached all readers of its output have made their contributions. */
#include <stdio.h>

#include "base/mem.h"
#include "graph/internal.h"
#include "graph/recompute.h"

struct gradients {
    graph *g;
    tensor **of; /* by tensor id: the gradient so far, or NULL */
    size_t count;
    recompute again; /* of the block that the walk is in */
};

/* The gradient so far of an input of a node, which may be one that is computed again. */
static tensor **gradient_of(const gradients *w, const tensor *input)
{
    return &w->of[recompute_original(&w->again, input)->id];
}

graph *gradients_graph(gradients *w)
{
    return w->g;
}

bool gradients_wanted(const gradients *w, const tensor *input)
{
    (void)w;
    return input != NULL && input->trainable;
}

tensor *gradients_so_far(const gradients *w, const tensor *input)
{
    return *gradient_of(w, input);
}

void gradients_set(gradients *w, const tensor *input, tensor *total)
{
    if (graph_ok(w->g)) *gradient_of(w, input) = total;
}

void gradients_add(gradients *w, const tensor *input, tensor *part)
{
    tensor *before = *gradient_of(w, input);
    if (before != NULL) {
        node *sum = graph_node(w->g, OP_ADD, &(node_attr){0}, (tensor *[]){before, part}, 2);
        part = sum == NULL ? NULL : sum->output[0];
    }
    gradients_set(w, input, part);
}

/* Emits the gradients of all forward nodes up to y's maker. `u` is NULL where y is the loss itself. */
static void walk(gradients *w, const tensor *y, tensor *u)
{
    graph *g = w->g;
    const char *name = g->name;
    g->walking_back = true;
    for (int i = y->maker->id; i >= 0 && graph_ok(g); i--) {
        const node *n = g->nodes[i];
        const tensor *out = n->output[0];
        if (out == NULL || !out->trainable) continue;
        tensor *dy = out == y ? u : w->of[out->id];
        if (out != y && dy == NULL) continue;
        const op_rule *rule = op_rules[n->op];
        if (rule->grad == NULL) {
            graph_fail(g, LECO_UNSUPPORTED, "%s: operator %s has no gradient", n->name, op_name(n->op));
            break;
        }
        n = recompute_node(&w->again, g, n);
        g->name = n->name;
        if (graph_ok(g)) rule->grad(w, n, dy);
    }
    g->name = name;
    g->walking_back = false;
}

/* Stores the finished gradient of each trainable param in the param itself. */
static void bind_params(gradients *w)
{
    for (size_t i = 0; i < w->count; i++) {
        const tensor *leaf = w->g->tensors[i];
        tensor *total = w->of[i];
        if (leaf->kind != TENSOR_PARAM || total == NULL || !graph_ok(w->g)) continue;
        if (total->kind != TENSOR_NODE || !shape_equal(&total->shape, &leaf->shape) || total->type != leaf->type) {
            graph_fail(w->g, LECO_INTERNAL, "%s: its gradient is not a tensor of its own shape", leaf->name);
            return;
        }
        total->kind = TENSOR_PARAM_GRAD;
        total->param = leaf->param;
    }
}

static void backward(graph *g, tensor *y, tensor *u, tensor *const *wanted, size_t count, tensor **grads)
{
    if (!graph_ok(g)) return;
    if (!y->trainable) {
        graph_fail(g, LECO_INVALID, "%s depends on nothing trainable", y->name);
        return;
    }
    gradients w = {.g = g, .count = g->tensor_count};
    w.of = mem_calloc(w.count, sizeof(tensor *));
    if (w.of == NULL) {
        graph_fail(g, LECO_MEMORY, "out of memory while building a graph");
        return;
    }
    walk(&w, y, u);
    recompute_free(&w.again);
    bind_params(&w);
    for (size_t i = 0; i < count; i++) grads[i] = graph_ok(g) ? w.of[wanted[i]->id] : NULL;
    mem_free(w.of);
    recompute_drop_unread(g);
}

void graph_backward(graph *g, tensor *loss)
{
    backward(g, loss, NULL, NULL, 0, NULL);
}

void graph_backward_from(graph *g, tensor *y, tensor *u, tensor *const *wanted, size_t count, tensor **grads)
{
    backward(g, y, u, wanted, count, grads);
}
