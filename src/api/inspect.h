/* What leco_inspect says of files of tensors that are no whole model. */
#ifndef LECO_API_INSPECT_H
#define LECO_API_INSPECT_H

#include <jansson.h>

#include "format/safetensors.h"

/* Of an open file adds to o: kind ("lora", "embedding", "vae", "tensors", ...), what is to be said of that, metadata
 * and tensors. */
void inspect_tensors(const safetensors *file, json_t *o);

#endif
