/* Where a training begins that network.init: erase asks for: its pairs, solved in closed form (erase.h) and cut to the
 * rank of the adapter, in place of zeros.
 *
 * A pair that erases makes its target read like its neutral, one that enhances like its positive, wherever they differ;
 * where all pairs enhance what they name themselves, it goes away from its neutral, as leco enhance has it. What the
 * config preserves, and pairs that change nothing, are kept. Pairs of other modes begin at zero. */
#ifndef LECO_SOLVE_START_H
#define LECO_SOLVE_START_H

#include "solve/erase.h"
#include "train/config.h"

bool start_is_asked_for(const train_config *c);
/* What of start_solve's errors can be told without the model. */
leco_status start_check(const train_config *c, leco_error *err);

/* Opens the model by itself, solves, and closes it. A config with no such pair, and a network without attn2's to_k and
 * to_v or of another kind than LoRA, are LECO_INVALID. On failure *out is NULL. device: as device_open. */
leco_status start_solve(const train_config *c, const char *device, trainable **out, leco_error *err);

/* The model of a config with what a solve reads: its U-Net mapped, its text encoder loaded, as many of its layers used
 * as the config says. On failure *out is NULL; else model_close. */
leco_status start_open_model(const train_config *c, model **out, leco_error *err);

/* As the training itself will compute; in what the device likes best where it lacks that precision. */
leco_status start_open_device(const train_config *c, const char *name, device *out, leco_error *err);

/* Puts the values of `from`, as erase_solve made it, in place of those of `into`, whose up is 0, layer by layer. The
 * rank of `into` may be higher: a closed form has none above the width of text states. Returns how many layers of
 * `from` there are in `into`. */
size_t start_copy(trainable *from, trainable *into);

#endif
