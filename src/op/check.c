#include "op/check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "op/op.h"

const char *tensor_text(const tensor *t, char text[TENSOR_TEXT])
{
    char dims[SHAPE_TEXT];
    shape_format(&t->shape, dims);
    /* A name too long for a sentence is cut: the shape is what the reader compares. */
    snprintf(text, TENSOR_TEXT, "%.*s %s", TENSOR_TEXT - SHAPE_TEXT - 2, t->name, dims);
    return text;
}

bool check_fail(graph *g, const node *n, const char *format, ...)
{
    char sentence[768];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    graph_fail(g, LECO_INVALID, "%s%s%s: %s", op_name(n->op), n->name[0] != '\0' ? " at " : "", n->name, sentence);
    return false;
}

bool check_present(graph *g, const node *n, int input, const char *role)
{
    return n->input[input] != NULL || check_fail(g, n, "%s is missing", role);
}

bool check_value(graph *g, const node *n, int input, const char *role, dtype type)
{
    char text[TENSOR_TEXT];
    if (!check_present(g, n, input, role)) return false;
    const tensor *t = n->input[input];
    if (t->kind != TENSOR_NODE && t->kind != TENSOR_INPUT) {
        return check_fail(g, n, "%s %s is a weight, an input or another operator's result is wanted", role,
                          tensor_text(t, text));
    }
    if (t->type != type) {
        return check_fail(g, n, "%s %s is %s, %s is wanted", role, tensor_text(t, text), dtype_name(t->type),
                          dtype_name(type));
    }
    return true;
}

bool check_activation(graph *g, const node *n, int input, const char *role)
{
    return check_value(g, n, input, role, graph_dtype(g));
}

bool check_shape(graph *g, const node *n, int input, const char *role, const shape *s)
{
    char text[TENSOR_TEXT], wanted[SHAPE_TEXT];
    if (!check_present(g, n, input, role)) return false;
    if (shape_equal(&n->input[input]->shape, s)) return true;
    return check_fail(g, n, "%s %s should be %s", role, tensor_text(n->input[input], text), shape_format(s, wanted));
}

bool check_optional_like(graph *g, const node *n, int input, const char *role, const shape *s)
{
    if (n->input[input] == NULL) return true;
    return check_activation(g, n, input, role) && check_shape(g, n, input, role, s);
}

bool check_rank(graph *g, const node *n, int input, const char *role, int lowest, int highest)
{
    char text[TENSOR_TEXT];
    if (!check_present(g, n, input, role)) return false;
    int rank = n->input[input]->shape.rank;
    if (rank >= lowest && rank <= highest) return true;
    return check_fail(g, n, "%s %s has %d dimensions, %d to %d are wanted", role, tensor_text(n->input[input], text),
                      rank, lowest, highest);
}

bool check_weight(graph *g, const node *n, int input, const char *role)
{
    char text[TENSOR_TEXT];
    if (!check_present(g, n, input, role)) return false;
    if (n->input[input]->kind == TENSOR_WEIGHT) return true;
    return check_fail(g, n, "%s %s is not a frozen weight", role, tensor_text(n->input[input], text));
}

bool check_weight_or_param(graph *g, const node *n, int input, const char *role)
{
    char text[TENSOR_TEXT];
    if (!check_present(g, n, input, role)) return false;
    const tensor *t = n->input[input];
    if (t->kind == TENSOR_WEIGHT || t->kind == TENSOR_PARAM) return true;
    if (t->kind == TENSOR_NODE && t->type == graph_exact_dtype(g)) return true;
    return check_fail(g, n, "%s is neither a weight nor a parameter", tensor_text(t, text));
}

bool check_exact(graph *g, const node *n, int input, const char *role)
{
    if (n->input[input] != NULL && n->input[input]->kind == TENSOR_PARAM) return true;
    return check_value(g, n, input, role, graph_exact_dtype(g));
}

bool check_channel_weight(graph *g, const node *n, int input, const char *role, int64_t channels)
{
    char text[TENSOR_TEXT];
    if (!check_weight(g, n, input, role)) return false;
    const tensor *t = n->input[input];
    if (t->shape.rank == 1 && t->shape.dim[0] == channels) return true;
    return check_fail(g, n, "%s %s should have %" PRId64 " elements", role, tensor_text(t, text), channels);
}

tensor *node_output(const node *n)
{
    return n == NULL ? NULL : n->output[0];
}

shape shape_with_last(shape s, int64_t last)
{
    s.dim[s.rank - 1] = last;
    return s;
}
