/* Writing an adapter with what it should say about itself. */
#ifndef LECO_TRAIN_SAVE_H
#define LECO_TRAIN_SAVE_H

#include "model/model.h"
#include "train/config.h"

/* Writes SAVE_PATH/NAME.safetensors where `last`, else NAME_<steps, six digits>.safetensors, making the folder; the
 * file is replaced atomically. An adapter with a value that isn't finite is LECO_INVALID, and nothing is written. The
 * date in it is today's, or SOURCE_DATE_EPOCH's. *path gets the file's name (mem_free it). */
leco_status save_adapter(const train_config *config, const model *m, trainable *t, int64_t steps, bool last,
                         char **path, leco_error *err);

/* The name of the file that a whole training writes; mem_free it; NULL: out of memory. */
char *save_name(const train_config *config);

/* Makes the folder and the files in it, and takes them away again, and looks at SOURCE_DATE_EPOCH, so that what keeps
 * an adapter from being saved is known before the training, not after it. What is there stays as it is. */
leco_status save_check(const train_config *config, leco_error *err);

#endif
