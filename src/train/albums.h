/* Objectives of photographs: those that a config's folders of pictures make, for each size of picture one. */
#ifndef LECO_TRAIN_ALBUMS_H
#define LECO_TRAIN_ALBUMS_H

#include "train/config.h"
#include "train/objective.h"

/* *list, what objectives_of_config made of the config, becomes that with all pictures: an entry with pairs is one
 * objective a size, `images` are more of them, and its regularisation is what is held. Each picture or pair counts as
 * much as an entry without any, `images.repeats` times. Of the pictures only headers are read. The list's memory is the
 * arena's. m: the model that is trained. */
leco_status albums_add(const train_config *config, const struct model *m, arena *memory, objective_list *list,
                       leco_error *err);

#endif
