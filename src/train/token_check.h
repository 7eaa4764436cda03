/* Prompts and the word that an embedding is trained for. */
#ifndef LECO_TRAIN_TOKEN_CHECK_H
#define LECO_TRAIN_TOKEN_CHECK_H

#include "train/objective.h"

/* Every objective's students must be asked with the token, whatever their wildcards become, or nothing is learnt from
 * it; and what is asked of the trained model as it was, or of teachers that lack such a word, must not hold it, which
 * means nothing there. LECO_INVALID otherwise, with place and prompt. models: the run's frozen ones, the first of which
 * knows the token. */
leco_status token_check(const objective_list *list, const frozen_model *models, const char *token, leco_error *err);

#endif
