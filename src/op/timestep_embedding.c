/* y[n] = sin(t[n] f) then cos(t[n] f) (or cos first), f[i] = exp(-ln(10000) i / (width / 2 - freq_shift)). */
#include <inttypes.h>

#include "op/check.h"
#include "op/op.h"
#include "op/rules.h"

tensor *op_timestep_embedding(graph *g, tensor *t, int64_t width, bool flip_sin_to_cos, float freq_shift)
{
    const node_attr attr = {
        .target = {.rank = 1, .dim = {width}}, .flip_sin_to_cos = flip_sin_to_cos, .freq_shift = freq_shift};
    return node_output(graph_node(g, OP_TIMESTEP_EMBEDDING, &attr, (tensor *[]){t}, op_timestep_embedding_inputs));
}

/* attr.target is [width]. */
static bool timestep_embedding_infer(graph *g, node *n)
{
    if (!check_value(g, n, 0, "t", graph_exact_dtype(g)) || !check_rank(g, n, 0, "t", 1, 1)) return false;
    int64_t width = n->attr.target.dim[0];
    if (width <= 0 || width % 2 != 0) {
        return check_fail(g, n, "width is %" PRId64 ", it must be even and positive", width);
    }
    if (!(n->attr.freq_shift < (float)(width / 2))) {
        return check_fail(g, n, "freq_shift is %g, it must be under half the width, %" PRId64,
                          (double)n->attr.freq_shift, width / 2);
    }
    graph_set_output(g, n, 0, graph_dtype(g), SHAPE(n->input[0]->shape.dim[0], width));
    return true;
}

const op_rule op_timestep_embedding_rule = {OP_RULE(timestep_embedding), .infer = timestep_embedding_infer};
