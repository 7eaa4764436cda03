/* Entries of a config that train nothing. */
#ifndef LECO_TRAIN_STILL_H
#define LECO_TRAIN_STILL_H

#include "model/tokenizer.h"
#include "train/config.h"

/* Refuses a config of which no entry can move the adapter, saying what to write; an entry that can't, among others that
 * do, is a warning in the log, unless its guidance_scale or weight is 0: such entries are meant to hold a prompt still
 * or are switched off. Texts that the tokenizer gives the same ids are one prompt ("Red " and "red"); without one
 * (NULL), equal texts are. */
leco_status still_check(const train_config *config, const tokenizer *tokens, leco_error *err);

#endif
