/* LoHa:  y = W x + multiplier * (alpha / rank) * ((w1_a w1_b) * (w2_a w2_b)) x,  the two products [out,in] multiplied
 * element by element: w1_a, w2_a [out,rank], w1_b, w2_b [rank,in], and on a 3x3 convolution [rank,in*9]. Source:
 * Hyeon-Woo et al., "FedPara: low-rank Hadamard product for communication-efficient federated learning" (2022); names
 * in files, and what training starts with, as LyCORIS has them. (Not its Tucker form, which has tensors hada_t1 and
 * hada_t2 beside these.) */
#include "model/kinds.h"
#include "op/op.h"

enum { W1_A, W1_B, W2_A, W2_B };

static void settle(trainable_module *m, const trainable_options *o)
{
    (void)m;
    (void)o;
}

static void shapes(const trainable_module *m, kind_shape out[KIND_MAX_PARAMS])
{
    const layer_info *layer = &m->layer;
    const shape a = SHAPE(layer->out, m->rank), b = SHAPE(m->rank, layer->in * layer->kernel * layer->kernel);
    out[W1_A] = out[W2_A] = (kind_shape){a, a};
    out[W1_B] = out[W2_B] = (kind_shape){b, b};
}

static void draw_normal(param *p, rng *r, float deviation, float *draw)
{
    const size_t count = (size_t)shape_count(&p->shape);
    rng_normal(r, draw, count);
    for (size_t i = 0; i < count; i++) draw[i] *= deviation;
    dtype_convert(p->value, p->type, draw, DTYPE_F32, count);
}

/* LyCORIS's draws, in its order. w2_a stays 0, and so what is added. */
static leco_status initialise(trainable_module *m, const kind_start *s, leco_error *err)
{
    (void)err;
    draw_normal(&m->param[W1_B], s->rng, 1.0f, s->draw);
    draw_normal(&m->param[W1_A], s->rng, 0.1f, s->draw);
    draw_normal(&m->param[W2_B], s->rng, 1.0f, s->draw);
    return LECO_OK;
}

static tensor *apply(const trainable_module *m, const layer_site *at, float multiplier)
{
    graph *g = at->g;
    const layer_info *layer = &m->layer;
    const float scale = multiplier * m->alpha / (float)m->rank;
    const shape matrix = SHAPE(layer->out, layer->in),
                kernel = SHAPE(layer->out, layer->in, layer->kernel, layer->kernel);
    tensor *w = op_hadamard(g, graph_param(g, &m->param[W1_A]), graph_param(g, &m->param[W1_B]),
                            graph_param(g, &m->param[W2_A]), graph_param(g, &m->param[W2_B]), scale,
                            layer->kernel == 1 ? matrix : kernel);
    return layer->kernel == 1 ? op_linear(g, at->x, w, NULL, at->y, 1.0f)
                              : op_conv2d(g, at->x, w, NULL, at->y, at->stride, at->pad);
}

const trainable_kind kind_loha = {
    .name = "loha",
    .file_module = "lycoris.kohya",
    .architecture = "lora",
    .param = {[W1_A] = {".hada_w1_a", false},
              [W1_B] = {".hada_w1_b", false},
              [W2_A] = {".hada_w2_a", true},
              [W2_B] = {".hada_w2_b", false}},
    .size = {[KIND_RANK] = {W1_B, 0}, [KIND_ROWS] = {0, -1}, [KIND_COLUMNS] = {0, -1}},
    .products = 2,
    .product = {{W1_A, W1_B}, {W2_A, W2_B}},
    .fits = kind_fits_weight,
    .settle = settle,
    .shapes = shapes,
    .initialise = initialise,
    .apply = apply,
};
