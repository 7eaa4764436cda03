/* Changes of vectors, as LyCORIS writes them beside its matrices, or ComfyUI's extraction does: of a bias,
 * y + multiplier * diff_b, of any layer and on any kind of adapter; of a norm's scale, y + multiplier * w_norm * x, x
 * normalised. Neither has a rank or an alpha. Names in files as LyCORIS has them: .diff_b [out]; .w_norm and .b_norm
 * [channels] of norms, which ComfyUI calls .diff and .diff_b as it does of all layers. */
#include "model/kinds.h"
#include "op/op.h"

static void shapes(const trainable_module *m, kind_shape out[KIND_MAX_PARAMS])
{
    const shape s = SHAPE(m->layer.out);
    out[0] = (kind_shape){s, s};
}

static tensor *apply_bias(const trainable_module *m, const layer_site *at, float multiplier)
{
    return adapter_shifted(at, graph_param(at->g, &m->param[0]), at->y, multiplier);
}

static tensor *apply_norm(const trainable_module *m, const layer_site *at, float multiplier)
{
    return op_affine(at->g, at->x, graph_param(at->g, &m->param[0]), NULL, at->y, 0, multiplier);
}

static leco_status change(const trainable_module *m, const double *const *params, double times, const double *w,
                          double *matrix, leco_error *err)
{
    (void)w;
    (void)err;
    for (int64_t i = 0; i < m->layer.out; i++) matrix[i] += times * params[0][i];
    return LECO_OK;
}

#define COMMON                                                                                                         \
    .size = {[KIND_RANK] = {0, -1}, [KIND_ROWS] = {0, -1}, [KIND_COLUMNS] = {0, -1}}, .unscaled = true,                \
    .only_read = true, .file_module = "lycoris.kohya", .architecture = "lora", .shapes = shapes, .change = change

const trainable_kind kind_norm = {COMMON, .name = "norm", .param = {{".w_norm", true}}, .of_norm = true,
                                  .apply = apply_norm};
const trainable_kind kind_norm_whole = {
    COMMON, .name = "norm", .variant_of = &kind_norm, .param = {{".diff", true}}, .of_norm = true, .apply = apply_norm};
const trainable_kind kind_bias = {COMMON, .name = "bias", .param = {{".diff_b", true}}, .of_bias = true,
                                  .apply = apply_bias};
const trainable_kind kind_bias_of_norm = {
    COMMON,          .name = "bias",     .variant_of = &kind_bias, .param = {{".b_norm", true}},
    .of_bias = true, .apply = apply_bias};
