/* Modes: how an entry of a config becomes an objective. A new one is a function in modes.c. */
#ifndef LECO_TRAIN_MODES_H
#define LECO_TRAIN_MODES_H

#include "train/config.h"
#include "train/objective.h"

/* The objectives of a config, one an entry, in memory of the arena; they borrow the config's texts. Refuses a config of
 * which no entry can move the adapter, saying what to write; an entry that can't, among others that do, is a warning in
 * the log, unless its guidance_scale or weight is 0: such entries are meant to hold a prompt still or are switched off.
 */
leco_status objectives_of_config(const train_config *config, arena *memory, objective_list *out, leco_error *err);

#endif
