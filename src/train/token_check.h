/* Prompts and the word that an embedding is trained for. */
#ifndef LECO_TRAIN_TOKEN_CHECK_H
#define LECO_TRAIN_TOKEN_CHECK_H

#include "train/objective.h"

/* Every objective's students must be asked with the token, or nothing is learnt from it; and what is asked of the
 * trained model as it was must not hold it, which means nothing there. LECO_INVALID otherwise, with place and prompt.
 */
leco_status token_check(const objective_list *list, const char *token, leco_error *err);

#endif
