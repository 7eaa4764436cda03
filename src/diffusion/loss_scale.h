/* What a loss is multiplied by before the reverse walk where that computes in float16, so that small gradients of
 * activations don't become 0 there; gradients of params, in float32, are divided by it again. It is a power of two, so
 * that neither rounds. Where a gradient isn't finite the scale is halved and the walk done once more; after so many
 * walks that went well it is doubled (Micikevicius et al., "Mixed precision training", arXiv 1710.03740, and the
 * numbers of torch.amp.GradScaler). */
#ifndef LECO_DIFFUSION_LOSS_SCALE_H
#define LECO_DIFFUSION_LOSS_SCALE_H

#include <stdbool.h>
#include <stdint.h>

enum { LOSS_SCALE_FIRST = 16, LOSS_SCALE_MOST = 24, LOSS_SCALE_PATIENCE = 2000 };

typedef struct loss_scale {
    int exponent; /* of two: 0 to LOSS_SCALE_MOST */
    int64_t good; /* walks since it changed, below LOSS_SCALE_PATIENCE */
} loss_scale;

loss_scale loss_scale_start(void);
bool loss_scale_valid(const loss_scale *s); /* can it be one? */
float loss_scale_factor(const loss_scale *s);
/* A gradient wasn't finite. False: it is 1 already. */
bool loss_scale_shrink(loss_scale *s);
/* All were. */
void loss_scale_passed(loss_scale *s);

#endif
