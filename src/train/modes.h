/* Modes: how an entry of a config becomes an objective. A new one is a function in modes.c. */
#ifndef LECO_TRAIN_MODES_H
#define LECO_TRAIN_MODES_H

#include "train/config.h"
#include "train/objective.h"

/* The objectives of a config, one an entry, in memory of the arena; they borrow the config's texts. */
leco_status objectives_of_config(const train_config *config, arena *memory, objective_list *out, leco_error *err);

#endif
