/* The frozen models of a run: the one that is trained, and the config's teachers. */
#ifndef LECO_TRAIN_TEACHERS_H
#define LECO_TRAIN_TEACHERS_H

#include "train/config.h"
#include "train/objective.h"

/* Opens the config's model and its teachers, with the noise schedule of each: out [1 + teacher_count], zeroed. A
 * teacher whose latents are others than the model's is LECO_INVALID: other channels or picture sizes, or, unless
 * same_latents says that they are the same, another scaling_factor or another end of the VAE's encoder. What was opened
 * is the caller's to free, also on failure. */
leco_status teachers_open(const train_config *config, frozen_model *out, leco_error *err);
void teachers_close(frozen_model *models, size_t count);

#endif
