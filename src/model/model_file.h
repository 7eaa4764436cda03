/* A file where a model's folder was expected. */
#ifndef LECO_MODEL_MODEL_FILE_H
#define LECO_MODEL_MODEL_FILE_H

#include "base/error.h"

/* Refuses `path`, which is no folder: says what it is instead (a checkpoint in one file, a LoRA, ...). */
leco_status model_refuse_file(const char *path, leco_error *err);

#endif
