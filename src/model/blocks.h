/* Blocks that the U-Net and the VAE share. */
#ifndef LECO_MODEL_BLOCKS_H
#define LECO_MODEL_BLOCKS_H

#include "model/module.h"

/* ResnetBlock2D: y [N,H,W,out] = skip(x) + conv2(silu(norm2(conv1(silu(norm1(x))) + time_emb_proj(time)))).
 * x [N,H,W,in]; time [N,D] (SiLU already applied) or NULL; skip is the identity where in == out, else a 1x1 conv. */
tensor *block_resnet(nn *c, const char *name, tensor *x, tensor *time, int64_t out, int groups, float eps);

/* Downsample2D NAME.conv: 3x3, stride 2, explicit padding (top, left, bottom, right). */
tensor *block_downsample(nn *c, const char *name, tensor *x, const int pad[4]);

/* Upsample2D NAME.conv: nearest-neighbour resize to height x width, then a 3x3 conv. */
tensor *block_upsample(nn *c, const char *name, tensor *x, int64_t height, int64_t width);

#endif
