/* LoRA:  y = W x + multiplier * (alpha / rank) * up (down x),  down [rank,in], up [out,rank]; on a 3x3 convolution down
 * is one, too, [rank,in,3,3]. Source: Hu et al., "LoRA: low-rank adaptation of large language models" (2022); names in
 * files as kohya's sd-scripts write them. */
#include <math.h>

#include "model/kinds.h"
#include "op/op.h"

enum { DOWN, UP };

/* A convolution gets no more rank than it has channels, as in p1atdev's LECO; a linear layer gets what was asked for.
 * The draws of all later modules depend on it. alpha stays: the scale is alpha / the rank that the module has. */
void lora_settle(trainable_module *m, const trainable_options *o)
{
    (void)o;
    const int64_t most = m->layer.in < m->layer.out ? m->layer.in : m->layer.out;
    if (m->layer.is_conv && m->rank > most) m->rank = most;
}

void lora_shapes(const trainable_module *m, kind_shape out[KIND_MAX_PARAMS])
{
    const layer_info *layer = &m->layer;
    const int64_t rank = m->rank;
    shape down = SHAPE(rank, layer->in), up = SHAPE(layer->out, rank);
    shape conv_down = SHAPE(rank, layer->in, layer->kernel, layer->kernel), conv_up = SHAPE(layer->out, rank, 1, 1);
    out[DOWN] = (kind_shape){layer->kernel == 1 ? down : conv_down, layer->is_conv ? conv_down : down};
    out[UP] = (kind_shape){up, layer->is_conv ? conv_up : up};
}

/* The draws that PyTorch makes for one module: nn.Linear's (or nn.Conv2d's) own for down, then for up, then the
 * kaiming-uniform for down that is kept. up stays 0. */
leco_status lora_initialise(trainable_module *m, const kind_start *s, leco_error *err)
{
    (void)err;
    rng *r = s->rng;
    float *draw = s->draw;
    param *down = &m->param[DOWN];
    const double gain = sqrt(2.0 / (1.0 + 5.0)); /* kaiming_uniform_(a = sqrt 5) */
    const int64_t inputs = m->layer.in * m->layer.kernel * m->layer.kernel;
    float of_down = (float)(sqrt(3.0) * gain / sqrt((double)inputs));
    float of_up = (float)(sqrt(3.0) * gain / sqrt((double)m->rank));
    size_t down_count = (size_t)shape_count(&down->shape), up_count = (size_t)shape_count(&m->param[UP].shape);
    rng_uniform(r, draw, down_count, -of_down, of_down);
    rng_uniform(r, draw, up_count, -of_up, of_up);
    rng_uniform(r, draw, down_count, -of_down, of_down);
    dtype_convert(down->value, down->type, draw, DTYPE_F32, down_count);
    return LECO_OK;
}

tensor *lora_low(const trainable_module *m, const layer_site *at, tensor *x)
{
    tensor *down = graph_param(at->g, &m->param[DOWN]);
    return m->layer.kernel == 1 ? op_linear(at->g, x, down, NULL, NULL, 1.0f)
                                : op_conv2d(at->g, x, down, NULL, NULL, at->stride, at->pad);
}

static tensor *apply(const trainable_module *m, const layer_site *at, float multiplier)
{
    tensor *low = adapter_dropped(m, at, lora_low(m, at, at->x)), *up = graph_param(at->g, &m->param[UP]);
    return op_linear(at->g, low, up, NULL, at->y, multiplier * m->alpha / (float)m->rank);
}

const trainable_kind kind_lora = {
    .name = "lora",
    .file_module = "networks.lora",
    .architecture = "lora",
    .param = {[DOWN] = {".lora_down.weight", false}, [UP] = {".lora_up.weight", true}},
    .size = {[KIND_RANK] = {DOWN, 0}, [KIND_ROWS] = {0, -1}, [KIND_COLUMNS] = {0, -1}},
    .products = 1,
    .product = {{UP, DOWN}},
    .fits = kind_fits_weight,
    .settle = lora_settle,
    .shapes = lora_shapes,
    .initialise = lora_initialise,
    .apply = apply,
    .drops = true,
};
