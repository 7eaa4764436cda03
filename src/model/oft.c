/* OFT:  y = W x + multiplier * (R - 1) W x,  R [out,out] the rotation that a file's blocks are turned into when it is
 * opened (adapter_fold.c): block by block (1 + Q) (1 - Q)^-1, Q = q - q^T. What it turns is what the weight makes of x,
 * before the bias. Source: Qiu et al., "Controlling text-to-image diffusion by orthogonal finetuning" (2023); kohya's
 * networks.oft and LyCORIS's diag-oft alike. Away from multiplier 1 it is kohya's formula: R - 1 is scaled. */
#include "model/kinds.h"
#include "op/op.h"

enum { CHANGE, MULTIPLIER };

static void shapes(const trainable_module *m, kind_shape out[KIND_MAX_PARAMS])
{
    const shape square = SHAPE(m->layer.out, m->layer.out), vector = SHAPE(m->layer.out);
    out[CHANGE] = (kind_shape){square, square};
    out[MULTIPLIER] = (kind_shape){vector, vector};
}

/* The matrix is large: what the multiplier scales is what comes of it. */
static tensor *apply(const trainable_module *m, const layer_site *at, float multiplier)
{
    tensor *turned = op_linear(at->g, at->base, graph_param(at->g, &m->param[CHANGE]), NULL, NULL, 1.0f);
    return op_affine(at->g, turned, graph_param(at->g, &m->param[MULTIPLIER]), NULL, at->y, 0, multiplier);
}

static leco_status change(const trainable_module *m, const double *const *params, double times, const double *w,
                          double *matrix, leco_error *err)
{
    const int64_t out = m->layer.out, columns = m->layer.in * m->layer.kernel * m->layer.kernel;
    (void)err;
    for (int64_t i = 0; i < out; i++)
        for (int64_t k = 0; k < out; k++) {
            const double factor = times * params[CHANGE][i * out + k];
            if (factor == 0) continue; /* of another block */
            for (int64_t j = 0; j < columns; j++) matrix[i * columns + j] += factor * w[k * columns + j];
        }
    return LECO_OK;
}

const trainable_kind kind_oft = {
    .name = "oft",
    .file_module = "networks.oft",
    .architecture = "lora",
    .param = {[CHANGE] = {".oft_change", false}, [MULTIPLIER] = {".multiplier", true, .added = true}},
    .size = {[KIND_RANK] = {0, -1}, [KIND_ROWS] = {0, -1}, [KIND_COLUMNS] = {0, -1}},
    .unscaled = true,
    .folded_from = "oft_blocks",
    .only_read = true,
    .shapes = shapes,
    .apply = apply,
    .wants_base = true,
    .change = change,
    .needs_weight = true,
};
