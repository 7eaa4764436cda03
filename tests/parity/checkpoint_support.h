/* The fixtures' checkpoints in one file (tools/fixtures_checkpoint.py), with the token tables that they lack. */
#ifndef TESTS_CHECKPOINT_SUPPORT_H
#define TESTS_CHECKPOINT_SUPPORT_H

#include <stddef.h>

#include "format/safetensors.h"

enum { CHECKPOINTS = 3 };
const char *checkpoint_name(size_t i); /* "sd1", "sd2", "sdxl" */

/* Writes one, but for the tensors whose names begin with `without` (may be NULL), and `extra` (NULL: none) beside them.
 * Returns where: test_path. */
const char *checkpoint_put(size_t i, const char *without, const safetensors_entry *extra);
/* With empty tensors that tell something by their names. */
const char *checkpoint_put_marked(size_t i, const char *const *marks, size_t count);

/* What the metadata of those that are written from now on say, instead of the fixture's; NULL: the fixture's. */
void checkpoint_tell(const char *key, const char *value);

#endif
