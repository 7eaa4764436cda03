/* OFT and BOFT:  y = W x + multiplier * (R - 1) W x,  R [out,out] the rotation that a file's blocks are turned into
 * when it is opened (adapter_fold_oft.c, rotation.h). What it turns is what the weight makes of x, before the bias.
 * Source: Qiu et al., "Controlling text-to-image diffusion by orthogonal finetuning" (2023); Liu et al.,
 * "Parameter-efficient orthogonal finetuning via butterfly factorization" (2024); kohya's networks.oft and LyCORIS's
 * diag-oft and boft. Away from multiplier 1 it is kohya's formula: R - 1 is scaled.
 *
 * PEFT's turn what goes in, R [in,in] (adapter_fold_peft.c):  W x + multiplier * (s W R x - W x),  s [out] or 1. */
#include "model/kinds.h"
#include "op/op.h"

enum { CHANGE, MULTIPLIER };
enum { IN_SCALE, IN_CHANGE, IN_MULTIPLIER }; /* of kind_oft_in_scaled */

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
    .folded_from = "oft_blocks, oft_diag",
    .only_read = true,
    .shapes = shapes,
    .apply = apply,
    .wants_base = true,
    .change = change,
    .needs_weight = true,
};

/* ---- of what goes in ---- */

static bool is_scaled(const trainable_module *m)
{
    return m->kind == &kind_oft_in_scaled;
}

/* Of a convolution's weight, which PEFT turns as a matrix [out, in k k]. */
static int64_t columns_of(const trainable_module *m)
{
    return m->layer.in * m->layer.kernel * m->layer.kernel;
}

static void shapes_in(const trainable_module *m, kind_shape out[KIND_MAX_PARAMS])
{
    const shape square = SHAPE(columns_of(m), columns_of(m)), vector = SHAPE(is_scaled(m) ? m->layer.out : m->layer.in),
                scale = SHAPE(m->layer.out);
    if (is_scaled(m)) *out++ = (kind_shape){scale, scale};
    out[CHANGE] = (kind_shape){square, square};
    out[MULTIPLIER] = (kind_shape){vector, vector};
}

static tensor *apply_in(const trainable_module *m, const layer_site *at, float multiplier)
{
    graph *g = at->g;
    if (m->layer.kernel > 1)
        return graph_fail(g, LECO_UNSUPPORTED,
                          "%s: a BOFT or OFT of PEFT turns this convolution's weight, which leco can't do beside the "
                          "model: put it into the model (leco merge --into)",
                          m->layer.path);
    if (!is_scaled(m)) {
        tensor *turned = op_linear(g, at->x, graph_param(g, &m->param[CHANGE]), NULL, NULL, 1.0f);
        turned = op_affine(g, turned, graph_param(g, &m->param[MULTIPLIER]), NULL, NULL, 0, multiplier);
        return adapter_through_weight(m, at, turned, at->y);
    }
    tensor *turned = op_linear(g, at->x, graph_param(g, &m->param[IN_CHANGE]), NULL, NULL, 1.0f);
    tensor *change = adapter_through_weight(m, at, turned, NULL);
    change = op_affine(g, op_add(g, at->base, change), graph_param(g, &m->param[IN_SCALE]), NULL, change, 0, 1);
    return op_affine(g, change, graph_param(g, &m->param[IN_MULTIPLIER]), NULL, at->y, 0, multiplier);
}

/* Where row k of the square matrix has anything but 0: blocks leave most of it. */
static void find_span(const double *square, int64_t width, int64_t k, int64_t *begin, int64_t *end)
{
    *begin = 0, *end = width;
    while (*begin < *end && square[k * width + *begin] == 0) ++*begin;
    while (*end > *begin && square[k * width + *end - 1] == 0) --*end;
}

static leco_status change_in(const trainable_module *m, const double *const *params, double times, const double *w,
                             double *matrix, leco_error *err)
{
    const int64_t width = columns_of(m), out = m->layer.out;
    const double *turn = params[is_scaled(m) ? IN_CHANGE : CHANGE], *scale = is_scaled(m) ? params[IN_SCALE] : NULL;
    (void)err;
    for (int64_t i = 0; scale && i < out; i++)
        for (int64_t k = 0; k < width; k++) matrix[i * width + k] += times * scale[i] * w[i * width + k];
    for (int64_t k = 0; k < width; k++) {
        int64_t begin, end;
        find_span(turn, width, k, &begin, &end);
        for (int64_t i = 0; i < out; i++) {
            const double factor = times * (scale ? 1 + scale[i] : 1) * w[i * width + k];
            for (int64_t j = begin; j < end; j++) matrix[i * width + j] += factor * turn[k * width + j];
        }
    }
    return LECO_OK;
}

#define INWARDS                                                                                                        \
    .name = "oft", .file_module = "peft", .architecture = "lora", .variant_of = &kind_oft,                             \
    .size = {[KIND_RANK] = {0, -1}, [KIND_ROWS] = {0, -1}, [KIND_COLUMNS] = {0, -1}}, .unscaled = true,                \
    .folded_from = "oft_R.weight, oft_r, boft_R with boft_s", .only_read = true, .shapes = shapes_in,                  \
    .apply = apply_in, .change = change_in, .needs_weight = true

/* PEFT 0.16 and later, whose layers of a 3x3 convolution sum up overlapping patches. */
const trainable_kind kind_oft_in = {
    INWARDS, .param = {[CHANGE] = {".oft_in_change", false}, [MULTIPLIER] = {".multiplier", true, .added = true}},
    .of_pixels = "an OFT of a convolution of which PEFT makes one thing beside the model and another put into it"};

const trainable_kind kind_oft_in_scaled = {INWARDS,
                                           .param = {[IN_SCALE] = {".oft_in_scale", false},
                                                     [IN_CHANGE] = {".oft_in_change", false},
                                                     [IN_MULTIPLIER] = {".multiplier", true, .added = true}},
                                           .wants_base = true};
