/* Models in the cache that Hugging Face's programs keep: by the name that they have there, "org/name", or that of one
 * file of such a repository, "org/name/x.safetensors". Nothing is ever downloaded. Layout:
 * FOLDER/models--org--name/refs/main holds the name of a folder in snapshots/. FOLDER is $HF_HUB_CACHE, or
 * $HUGGINGFACE_HUB_CACHE, or hub in $HF_HOME, or in $XDG_CACHE_HOME/huggingface, or in ~/.cache/huggingface
 * (huggingface_hub's constants). */
#ifndef LECO_MODEL_HUB_H
#define LECO_MODEL_HUB_H

#include "base/error.h"

/* The folder of that model's latest snapshot, or of the one in a folder of the cache that `name` is itself (one with
 * snapshots/ in it), or the file in it; mem_free it. NULL with LECO_OK: there is none, or `name` can't be one. */
leco_status hub_find(const char *name, char **path, leco_error *err);
/* For messages that `name` isn't there: where it was looked for besides, if the hub's models have such names, else "".
 */
const char *hub_hint(const char *name);

#endif
