/* y[n,t] = table[ids[n,t]] + position[t]. */
#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_embedding(graph *g, tensor *ids, tensor *table, tensor *position)
{
    return node_output(
        graph_node(g, OP_EMBEDDING, &(node_attr){0}, (tensor *[]){ids, table, position}, op_embedding_inputs));
}

static bool embedding_infer(graph *g, node *n)
{
    char ids_text[TENSOR_TEXT], text[TENSOR_TEXT];
    if (!check_value(g, n, 0, "ids", DTYPE_I32) || !check_rank(g, n, 0, "ids", 2, 2)) return false;
    if (!check_weight(g, n, 1, "table") || !check_rank(g, n, 1, "table", 2, 2)) return false;
    const shape *ids = &n->input[0]->shape, *table = &n->input[1]->shape;
    if (n->input[2] != NULL) {
        if (!check_weight(g, n, 2, "position") || !check_rank(g, n, 2, "position", 2, 2)) return false;
        const shape *position = &n->input[2]->shape;
        if (position->dim[0] < ids->dim[1] || position->dim[1] != table->dim[1]) {
            return check_fail(g, n, "position %s is too short for ids %s, or not as wide as the table",
                              tensor_text(n->input[2], text), tensor_text(n->input[0], ids_text));
        }
    }
    graph_set_output(g, n, 0, graph_dtype(g), SHAPE(ids->dim[0], ids->dim[1], table->dim[1]));
    return true;
}

const op_rule op_embedding_rule = {OP_RULE(embedding), .infer = embedding_infer};
