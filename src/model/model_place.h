/* Where a model lies. */
#ifndef LECO_MODEL_MODEL_PLACE_H
#define LECO_MODEL_MODEL_PLACE_H

#include "base/error.h"

/* What to open for `path`, which is a model's folder or file, a name in Hugging Face's cache (hub.h), or a folder
 * without model_index.json that holds just one checkpoint: that file. Several checkpoints in such a folder are
 * LECO_INVALID, with their names. What isn't there at all comes out as it is. mem_free *out, which is set on success.
 */
leco_status model_find(const char *path, char **out, leco_error *err);

#endif
