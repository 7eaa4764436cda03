/* Reading and writing .safetensors files.
 *
 * Layout: u64 little-endian header length; a JSON object {name: {dtype, shape, data_offsets:[begin, end]}} with an
 * optional "__metadata__" of strings; then the bytes of the tensors. Source: the safetensors format specification.
 * A file is hostile until checked: header length, JSON, dtypes, ranks, products, offsets, gaps and overlaps are all
 * verified by open, which names the file and the tensor at fault. */
#ifndef LECO_FORMAT_SAFETENSORS_H
#define LECO_FORMAT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"

#define SAFETENSORS_MAX_DIMS 8

typedef struct safetensors_entry {
    const char *name;
    dtype type;
    int rank; /* 0 for a scalar */
    int64_t shape[SAFETENSORS_MAX_DIMS];
    size_t count;     /* elements */
    const void *data; /* into the memory map, or the caller's memory when writing */
} safetensors_entry;

typedef struct safetensors safetensors;

/* Maps and checks a file. Entries and their data live until safetensors_close. */
leco_status safetensors_open(const char *path, safetensors **out, leco_error *err);
void safetensors_close(safetensors *file); /* NULL is fine */

const char *safetensors_path(const safetensors *file);
size_t safetensors_count(const safetensors *file);
const safetensors_entry *safetensors_at(const safetensors *file, size_t index); /* in order of their data offsets */
const safetensors_entry *safetensors_find(const safetensors *file, const char *name); /* NULL: not there */

/* As find, but absence, another rank or another shape (a dimension of -1 matches any) is LECO_FORMAT, with names. */
leco_status safetensors_require(const safetensors *file, const char *name, int rank, const int64_t *shape,
                                const safetensors_entry **out, leco_error *err);

/* The value of a "__metadata__" key, or NULL; and iteration over all of them. */
const char *safetensors_metadata(const safetensors *file, const char *key);
size_t safetensors_metadata_count(const safetensors *file);
void safetensors_metadata_at(const safetensors *file, size_t index, const char **key, const char **value);

/* Writes a file atomically. Entries are stored in the given order, their data in `entries[i].data` as entries[i].type;
 * the header is padded with spaces so that the data start at a multiple of 8. `metadata` is n pairs key, value (may be
 * NULL when n is 0). */
leco_status safetensors_write(const char *path, const safetensors_entry *entries, size_t count,
                              const char *const (*metadata)[2], size_t metadata_count, leco_error *err);

#endif
