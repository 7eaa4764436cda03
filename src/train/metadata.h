/* What the file of a trained adapter says of its training, as kohya's sd-scripts writes it (ss_*), and the whole
 * config.
 */
#ifndef LECO_TRAIN_METADATA_H
#define LECO_TRAIN_METADATA_H

#include "model/model.h"
#include "train/config.h"

/* Key, value pairs. leco_config is a JSON object of all that decided what came out (train_config_describe). Names of
 * files and folders aren't told, but for the last part of the model's. `computed`: the type of the frozen weights.
 * Release with settings_free. */
leco_status metadata_of_run(const train_config *c, const model *m, dtype computed, int64_t steps, setting_list *out,
                            leco_error *err);

#endif
