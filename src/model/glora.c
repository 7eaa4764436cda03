/* GLoRA:  y = W x + multiplier * (alpha / rank) * (W a1 a2 + b1 b2) x,  a1 [in,rank], a2 [rank,in], b1 [out,rank], b2
 * [rank,in], on a 3x3 convolution b2 [rank,in,3,3]. Source: Chavan et al., "One-for-all: generalized LoRA for
 * parameter-efficient fine-tuning" (2023); names in files as LyCORIS has them. Files of its first versions have the
 * matrices the other way round, W a2 a1 + b2 b1 (as ComfyUI reads them): kind_glora_old. */
#include "base/mem.h"
#include "model/kinds.h"
#include "op/op.h"

enum { A1, A2, B1, B2 };

/* The params that x passes first, and those behind them. */
typedef struct roles {
    int a_down, a_up, b_down, b_up;
} roles;

static roles roles_of(const trainable_module *m)
{
    return m->kind == &kind_glora_old ? (roles){A1, A2, B1, B2} : (roles){A2, A1, B2, B1};
}

static void shapes(const trainable_module *m, kind_shape out[KIND_MAX_PARAMS])
{
    const layer_info *layer = &m->layer;
    const roles r = roles_of(m);
    const int64_t k = layer->kernel, rank = m->rank;
    const bool old_conv = m->kind == &kind_glora_old && k > 1; /* nobody wrote these: no shape fits */
    const shape down = SHAPE(rank, layer->in), conv = SHAPE(rank, layer->in, k, k);
    const shape a_up = SHAPE(old_conv ? -1 : layer->in, rank), b_up = SHAPE(layer->out, rank);
    out[r.a_down] = (kind_shape){down, down};
    out[r.a_up] = (kind_shape){a_up, a_up};
    out[r.b_down] = (kind_shape){k == 1 ? down : conv, k == 1 ? down : conv};
    out[r.b_up] = (kind_shape){b_up, b_up};
}

static tensor *apply(const trainable_module *m, const layer_site *at, float multiplier)
{
    graph *g = at->g;
    const roles r = roles_of(m);
    const float scale = multiplier * m->alpha / (float)m->rank;
    tensor *b_down = graph_param(g, &m->param[r.b_down]);
    tensor *low = op_linear(g, at->x, graph_param(g, &m->param[r.a_down]), NULL, NULL, 1.0f);
    tensor *x = op_linear(g, low, graph_param(g, &m->param[r.a_up]), NULL, NULL, scale);
    tensor *y = adapter_through_weight(m, at, x, at->y);
    low = m->layer.kernel == 1 ? op_linear(g, at->x, b_down, NULL, NULL, 1.0f)
                               : op_conv2d(g, at->x, b_down, NULL, NULL, at->stride, at->pad);
    return op_linear(g, low, graph_param(g, &m->param[r.b_up]), NULL, y, scale);
}

/* W a_up [out, rank, k k]; mem_free it. */
static double *through_weight(const trainable_module *m, const double *a_up, const double *w)
{
    const int64_t taps = m->layer.kernel * m->layer.kernel, in = m->layer.in, rank = m->rank;
    double *out = mem_calloc((size_t)(m->layer.out * rank * taps), sizeof *out);
    for (int64_t o = 0; out && o < m->layer.out; o++)
        for (int64_t i = 0; i < in; i++)
            for (int64_t r = 0; r < rank; r++)
                for (int64_t k = 0; k < taps; k++)
                    out[(o * rank + r) * taps + k] += w[(o * in + i) * taps + k] * a_up[i * rank + r];
    return out;
}

static leco_status change(const trainable_module *m, const double *const *params, double times, const double *w,
                          double *matrix, leco_error *err)
{
    const roles role = roles_of(m);
    const int64_t taps = m->layer.kernel * m->layer.kernel, in = m->layer.in, rank = m->rank, columns = in * taps;
    const double scale = times * (double)m->alpha / (double)rank;
    double *wa = through_weight(m, params[role.a_up], w);
    if (!wa) return error_memory(err, (size_t)(m->layer.out * rank * taps) * sizeof *wa, m->layer.path);
    for (int64_t o = 0; o < m->layer.out; o++)
        for (int64_t r = 0; r < rank; r++)
            for (int64_t j = 0; j < columns; j++)
                matrix[o * columns + j] +=
                    scale * (wa[(o * rank + r) * taps + j % taps] * params[role.a_down][r * in + j / taps] +
                             params[role.b_up][o * rank + r] * params[role.b_down][r * columns + j]);
    mem_free(wa);
    return LECO_OK;
}

#define COMMON                                                                                                         \
    .name = "glora", .file_module = "lycoris.kohya", .architecture = "lora", .shapes = shapes, .apply = apply,         \
    .change = change, .needs_weight = true, .only_read = true

const trainable_kind kind_glora = {
    COMMON,
    .param = {[A1] = {".a1.weight", true},
              [A2] = {".a2.weight", false},
              [B1] = {".b1.weight", true},
              [B2] = {".b2.weight", false}},
    .size = {[KIND_RANK] = {A2, 0}, [KIND_ROWS] = {0, -1}, [KIND_COLUMNS] = {0, -1}},
};

const trainable_kind kind_glora_old = {
    COMMON,
    .variant_of = &kind_glora,
    .param = {[A1] = {".a1.weight", false},
              [A2] = {".a2.weight", true},
              [B1] = {".b1.weight", false},
              [B2] = {".b2.weight", true}},
    .size = {[KIND_RANK] = {A2, 1}, [KIND_ROWS] = {0, -1}, [KIND_COLUMNS] = {0, -1}},
};
