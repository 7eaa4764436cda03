#include "model/blocks.h"

#include "op/op.h"

tensor *block_resnet(nn *c, const char *name, tensor *x, tensor *time, int64_t out, int groups, float eps)
{
    if (!x) return NULL;
    nn_mark mark = nn_enter_block(c, LAYER_RESNET, name);
    tensor *h = nn_group_norm(c, "norm1", x, groups, eps, true);
    h = nn_conv2d(c, "conv1", h, out, 3, NULL);
    if (time) h = op_add_spatial(c->g, h, nn_linear(c, "time_emb_proj", time, out, true, NULL));
    h = nn_group_norm(c, "norm2", h, groups, eps, true);
    tensor *skip = shape_last(&x->shape) == out ? x : nn_conv2d(c, "conv_shortcut", x, out, 1, NULL);
    h = nn_conv2d(c, "conv2", h, out, 3, skip);
    nn_leave(c, mark);
    return h;
}

tensor *block_downsample(nn *c, const char *name, tensor *x, const int pad[4])
{
    if (!x) return NULL;
    nn_mark mark = nn_enter_block(c, LAYER_SAMPLER, name);
    x = nn_conv2d_strided(c, "conv", x, shape_last(&x->shape), 3, pad);
    nn_leave(c, mark);
    return x;
}

tensor *block_upsample(nn *c, const char *name, tensor *x, int64_t height, int64_t width)
{
    if (!x) return NULL;
    nn_mark mark = nn_enter_block(c, LAYER_SAMPLER, name);
    int64_t channels = shape_last(&x->shape);
    x = nn_conv2d(c, "conv", op_upsample(c->g, x, height, width), channels, 3, NULL);
    nn_leave(c, mark);
    return x;
}
