/* Where a LoRA's file is, and what stands beside it. */
#ifndef LECO_MODEL_ADAPTER_CONFIG_H
#define LECO_MODEL_ADAPTER_CONFIG_H

#include "base/error.h"

struct json_t;

/* The file that `path` means: itself, or of a folder the LoRA that PEFT or diffusers saved there. mem_free it. A folder
 * without one is LECO_FORMAT. */
leco_status adapter_find(const char *path, char **out, leco_error *err);

/* What PEFT says of the LoRA in that file, in adapter_config.json beside it; json_decref it, and mem_free its path.
 * Both are NULL where there is none. What it says that leco can't do is LECO_UNSUPPORTED, with the key. */
leco_status adapter_config_read(const char *lora, char **path, struct json_t **out, leco_error *err);

#endif
