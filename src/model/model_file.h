/* A file where a model was expected. */
#ifndef LECO_MODEL_MODEL_FILE_H
#define LECO_MODEL_MODEL_FILE_H

#include "base/error.h"

/* Refuses `path`, which is neither a model's folder nor a checkpoint: says what it is instead (a LoRA, ...). */
leco_status model_refuse_file(const char *path, leco_error *err);

#endif
