/* How far a training has come. */
#ifndef LECO_TRAIN_EFFECT_FIGURES_H
#define LECO_TRAIN_EFFECT_FIGURES_H

#include <stdbool.h>

/* All in units of how far the targets are asked to move (train/effect.h); NaN where there is nothing to measure. */
typedef struct effect_figures {
    double effect;     /* of the way that is asked for: 0 nothing, 1 all of it */
    double moved;      /* the targets, in whatever direction */
    double kept;       /* what is preserved */
    double neighbours; /* texts of near words */
    double unrelated;  /* and of others */
} effect_figures;

#endif
