/* What a training's effect is compared with: texts of near words in the place of its concepts, and of something else.
 * By lists of words alone (topics.h): the model computes nothing. */
#ifndef LECO_SOLVE_NEIGHBOURS_H
#define LECO_SOLVE_NEIGHBOURS_H

#include "model/tokenizer.h"
#include "train/config.h"

/* Of what an entry of the config changes: the longest part of its `positive` that a topic lists and its `neutral`
 * doesn't hold: "a small orange star" of "a small red star"; and texts of other topics, without any of the concepts.
 * Nothing where logging.effect is off. Release with neighbours_free; on failure there is nothing to release. */
leco_status neighbours_find(const train_config *c, const tokenizer *t, logging_others *out, leco_error *err);
void neighbours_free(logging_others *n); /* safe on a zeroed one */

#endif
