/* Entries of a config that say a concept and nothing else: `prompts: [{target: red}]`. What they leave out is what a
 * closed form would choose (erase.h): texts in which such words stand, the nearest word in its place, and what is to
 * stay. */
#ifndef LECO_SOLVE_CONCEPTS_H
#define LECO_SOLVE_CONCEPTS_H

#include "train/config.h"

/* Puts an entry for each text in place of one that says a concept only (train_prompt.concept), which is drawn as often
 * as that; `preserve` is filled in where nothing is said of it, and `network.init` where it may be erase. Opens the
 * model by itself, and closes it; does nothing where there is no such entry. device_name: as device_open. */
leco_status concepts_complete(train_config *c, const char *device_name, leco_error *err);

#endif
