/* Models that leco doesn't do, told by the names of their tensors, so that a refusal says what a file is. */
#ifndef LECO_MODEL_OTHER_FAMILIES_H
#define LECO_MODEL_OTHER_FAMILIES_H

#include "format/safetensors.h"

/* What the tensor called so is of ("Flux"), in a model or in a LoRA for one; NULL: nothing that is known. */
const char *other_family_of(const char *name);

/* The same of a file: the surest of what its tensors say. Those that leco can't read are looked at, too. */
const char *other_family_of_file(const safetensors *file);

#endif
