/* The layers that LoRA files are for, found without the model: in the names and shapes of their tensors. */
#ifndef LECO_MODEL_FILE_LAYERS_H
#define LECO_MODEL_FILE_LAYERS_H

#include "model/layers.h"

/* Fills lists[PART_COUNT] with every layer that one of the files has a LoRA for, as adapter_layers take
 * them; layer_list_free each of them, after success. A path is what a key says of it, with underscores for dots;
 * classes aren't known. Where files disagree on a layer's shape, the first one's stands, so that trainable_load refuses
 * the others; it refuses, too, whatever else isn't as it should be: here nothing is said of it. */
leco_status file_layers_read(const char *const *paths, size_t count, layer_list *lists, leco_error *err);

/* The name of the first tensor of the file that is no part of a plain LoRA but of another kind (LoHa), whose layers
 * don't show without a model; mem_free it. *name is NULL where there is none. */
leco_status file_layers_need_model(const char *path, char **name, leco_error *err);

#endif
