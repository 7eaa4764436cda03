/* (IA)^3:  y = W x + multiplier * v * (W x),  v [out]; or, where it was trained on what goes in, W (multiplier * v *
 * x), v [in]: kind_ia3_in. Files have v as ".weight" in either case, and a number ".on_input" that tells which
 * (adapter_fold.c). Source: Liu et al., "Few-shot parameter-efficient fine-tuning is better and cheaper than in-context
 * learning" (2022); as LyCORIS has it. */
#include "model/kinds.h"
#include "op/op.h"

static bool on_input(const trainable_module *m)
{
    return m->kind == &kind_ia3_in;
}

static void shapes(const trainable_module *m, kind_shape out[KIND_MAX_PARAMS])
{
    const int64_t channels = on_input(m) ? m->layer.in : m->layer.out;
    out[0] = (kind_shape){SHAPE(channels), m->layer.is_conv ? SHAPE(1, channels, 1, 1) : SHAPE(channels)};
}

static tensor *apply(const trainable_module *m, const layer_site *at, float multiplier)
{
    tensor *v = graph_param(at->g, &m->param[0]);
    if (!on_input(m)) return op_affine(at->g, at->base, v, NULL, at->y, 0, multiplier);
    return adapter_through_weight(m, at, op_affine(at->g, at->x, v, NULL, NULL, 0, multiplier), at->y);
}

static leco_status change(const trainable_module *m, const double *const *params, double times, const double *w,
                          double *matrix, leco_error *err)
{
    const int64_t taps = m->layer.kernel * m->layer.kernel, columns = m->layer.in * taps;
    (void)err;
    for (int64_t i = 0; i < m->layer.out; i++)
        for (int64_t j = 0; j < columns; j++)
            matrix[i * columns + j] += times * params[0][on_input(m) ? j / taps : i] * w[i * columns + j];
    return LECO_OK;
}

#define COMMON                                                                                                         \
    .name = "ia3", .file_module = "lycoris.kohya", .architecture = "lora",                                             \
    .size = {[KIND_RANK] = {0, -1}, [KIND_ROWS] = {0, -1}, [KIND_COLUMNS] = {0, -1}}, .unscaled = true,                \
    .folded_from = "weight with on_input", .only_read = true, .shapes = shapes, .apply = apply, .change = change,      \
    .needs_weight = true

const trainable_kind kind_ia3 = {COMMON, .param = {{".ia3_out", true}}, .wants_base = true};
const trainable_kind kind_ia3_in = {COMMON, .variant_of = &kind_ia3, .param = {{".ia3_in", true}}};
