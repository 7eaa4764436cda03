/* What an adapter's file says about itself: ss_* as kohya's sd-scripts writes it, modelspec.* after Stability's
 * specification, and the hashes that sd-webui shows. */
#ifndef LECO_MODEL_ADAPTER_METADATA_H
#define LECO_MODEL_ADAPTER_METADATA_H

#include "base/arena.h"
#include "format/safetensors.h"
#include "model/trainable.h"

typedef struct adapter_file {
    const char *path;
    const safetensors_entry *entries; /* its tensors, in the order in which they are written */
    size_t count;
    const char *(*pairs)[2]; /* the metadata */
    size_t pair_count, pair_capacity;
    arena *memory; /* of all of it */
} adapter_file;

/* Fills the pairs of a file whose entries are there. */
leco_status adapter_metadata_add(adapter_file *f, const trainable *t, const trainable_metadata *m, leco_error *err);

/* The first 12 digits of a file's SHA-256, which A1111 shows beside an embedding; mem_free it; NULL: it can't be read,
 * or there is no memory. */
char *adapter_file_hash(const char *path);

#endif
