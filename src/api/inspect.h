/* What leco_inspect says of files of tensors that are no whole model. */
#ifndef LECO_API_INSPECT_H
#define LECO_API_INSPECT_H

#include <jansson.h>

#include "base/error.h"

/* Adds to o: kind ("lora", "embedding", "vae", "tensors", ...), what is to be said of that, metadata and tensors. */
leco_status inspect_tensors(const char *path, json_t *o, leco_error *err);

#endif
