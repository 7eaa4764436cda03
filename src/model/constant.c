#include "model/module.h"

tensor *nn_constant(graph *g, weights *w, int value, int64_t channels)
{
    weight *of = NULL;
    leco_error err = {0};
    if (!graph_ok(g)) return NULL;
    if (weights_constant(w, value, channels, &of, &err) != LECO_OK) return graph_fail(g, err.status, "%s", err.message);
    return graph_weight(g, of);
}
