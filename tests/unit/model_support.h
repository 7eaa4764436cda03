/* Models to break: copies of the parity fixtures' folders in the test's own, with edits. */
#ifndef MODEL_SUPPORT_H
#define MODEL_SUPPORT_H

#include <stdbool.h>

#include "test_support.h"

#include "format/safetensors.h"

#define FIXTURE(name) LECO_SOURCE_DIR "/tests/parity/fixtures/" name

/* Copies a folder (and those in it) to test_path(name), replacing what is there; returns that path (static storage, as
 * test_path). */
const char *model_copy(const char *from, const char *name);

/* Sets a key of a JSON file to a JSON text, or removes the key where value is NULL. */
void model_edit(const char *path, const char *key, const char *value);

/* Rewrites a safetensors file with `change` applied to a copy of each entry (its data writable); false drops it. */
void model_rewrite(const char *path, bool (*change)(safetensors_entry *entry, float *data));

#endif
