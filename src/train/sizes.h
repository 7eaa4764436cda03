/* Objectives of changing size: a copy for each height and width. */
#ifndef LECO_TRAIN_SIZES_H
#define LECO_TRAIN_SIZES_H

#include "train/config.h"
#include "train/objective.h"

/* *list becomes that with the dynamic ones at all of their sizes: from half of the size that they have up to it, in
 * steps of 64 pixels, or, of models whose pictures are small, of what their U-Net halves to whole numbers. As p1atdev's
 * trainer has it (timestep_compat), the size itself isn't among them. A size with no smaller one is LECO_INVALID. The
 * list's memory is the arena's. */
leco_status sizes_add(const train_config *config, const struct model *m, arena *memory, objective_list *list,
                      leco_error *err);

#endif
