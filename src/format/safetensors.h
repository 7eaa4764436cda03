/* Reading and writing .safetensors files.
 *
 * Layout: u64 little-endian header length; a JSON object {name: {dtype, shape, data_offsets:[begin, end]}} with an
 * optional "__metadata__" of strings; then the bytes of the tensors. Source: the safetensors format specification.
 * A file is hostile until checked: header length (at most 100 MB), JSON, duplicate names, dtypes, ranks, products,
 * offsets, gaps, overlaps and trailing bytes are all verified by open, which names the file and the tensor at fault.
 * What can't be seen here is another program cutting the file while it is mapped: reading on then kills the process
 * (SIGBUS), as for every memory map. */
#ifndef LECO_FORMAT_SAFETENSORS_H
#define LECO_FORMAT_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"

#define SAFETENSORS_MAX_DIMS 8
#define SAFETENSORS_METADATA "__metadata__" /* the key of the header that names no tensor */

typedef struct safetensors_entry {
    const char *name;
    dtype type;
    int rank; /* 0 for a scalar */
    int64_t shape[SAFETENSORS_MAX_DIMS];
    size_t count; /* elements */
    /* Into the memory map, or the caller's memory when writing. Real files place tensors at any byte: read them with
     * memcpy or dtype_convert, never through a pointer to the element type. */
    const void *data;
} safetensors_entry;

typedef struct safetensors safetensors;

/* The type as the files spell it: "F32", "BF16", "F16", "F64", "I32", "I64". Static. */
const char *safetensors_type_name(dtype type);

/* Maps and checks a file. Entries and their data live until safetensors_close. */
leco_status safetensors_open(const char *path, safetensors **out, leco_error *err);
void safetensors_close(safetensors *file);                                   /* NULL is fine */
leco_status safetensors_unchanged(const safetensors *file, leco_error *err); /* file_map_check */

const char *safetensors_path(const safetensors *file);
size_t safetensors_count(const safetensors *file);
const safetensors_entry *safetensors_at(const safetensors *file, size_t index); /* in order of their data offsets */
const safetensors_entry *safetensors_find(const safetensors *file, const char *name); /* NULL: not there */

const safetensors_entry *safetensors_find_any(const safetensors *file, const char *name); /* of any type */

/* All of them, of any type: those that `at` gives, then the skipped. */
size_t safetensors_any_count(const safetensors *file);
const safetensors_entry *safetensors_any_at(const safetensors *file, size_t index);

/* Tensors of a dtype that leco doesn't compute with (BOOL, U8, F8_E4M3, ...) are checked like all others, but neither
 * `at` nor `find` gives them: these functions list them, with the dtype as the file spells it, in the same order. Their
 * entries have DTYPE_COUNT for type. Who goes through a file to use all of it must look at them, too. */
size_t safetensors_skipped_count(const safetensors *file);
const safetensors_entry *safetensors_skipped_at(const safetensors *file, size_t index, const char **name,
                                                const char **type);

/* The dtype of an entry of an open file (never of one that you made), as the file spells it. */
const char *safetensors_type(const safetensors_entry *entry);

/* The only element of an entry of an open file, whatever integer or floating type that leco knows it is of. false where
 * there isn't exactly one, or it is of another type. */
bool safetensors_number(const safetensors_entry *entry, double *out);

/* Calls tensors otherwise: `rename` gives a new name, which is freed here, or leaves *out NULL. *count gets how many
 * have another name. Two of one name are LECO_FORMAT. What was found before is no longer valid, here and below. */
leco_status safetensors_rename(safetensors *file, leco_status (*rename)(const char *name, char **out, leco_error *err),
                               size_t *count, leco_error *err);

/* Adds tensors of one number each, of type F64; the names are copied. */
typedef struct safetensors_number_to_add {
    const char *name;
    double value;
} safetensors_number_to_add;
leco_status safetensors_add_numbers(safetensors *file, const safetensors_number_to_add *numbers, size_t count,
                                    leco_error *err);

/* Tensors of eight-bit floats become tensors of bfloat16, which has all their values. */
leco_status safetensors_widen(safetensors *file, leco_error *err);

/* Replaces tensors, or adds them where there is none of that name, or takes them away. */
typedef struct safetensors_change {
    const char *name; /* copied */
    int rank;
    int64_t shape[SAFETENSORS_MAX_DIMS];
    float
        *values; /* as many as the shape says; from mem_aligned, and the file's, also on failure. NULL: away with it */
} safetensors_change;
leco_status safetensors_apply(safetensors *file, const safetensors_change *changes, size_t count, leco_error *err);

/* As find, but absence, another rank or another shape (a dimension of -1 matches any) is LECO_FORMAT, with names; a
 * tensor that was skipped is LECO_UNSUPPORTED, with its dtype. */
leco_status safetensors_require(const safetensors *file, const char *name, int rank, const int64_t *shape,
                                const safetensors_entry **out, leco_error *err);

/* The value of a "__metadata__" key, or NULL; and iteration over all of them. */
const char *safetensors_metadata(const safetensors *file, const char *key);
size_t safetensors_metadata_count(const safetensors *file);
void safetensors_metadata_at(const safetensors *file, size_t index, const char **key, const char **value);

/* Writes a file atomically. The data of entry i are `entries[i].data` as entries[i].type; its count must be the product
 * of its shape. Entries are stored in the given order, but those of 8-byte types first, then 4, then 2, and the header
 * is padded with spaces: so every tensor is aligned, as PyTorch demands. `metadata` is n pairs key, value (may be NULL
 * when n is 0). Names and metadata must be UTF-8, and names must differ; anything else is LECO_INVALID. */
leco_status safetensors_write(const char *path, const safetensors_entry *entries, size_t count,
                              const char *const (*metadata)[2], size_t metadata_count, leco_error *err);

/* The same, but each tensor's data are asked for when they are written, so that not all need be there at once: in the
 * order of writing, by number; valid until the next one is asked for. Then `check` (NULL: nobody) may read the whole
 * file, at `place`, before it takes its own. */
typedef struct safetensors_maker {
    leco_status (*make)(void *user, size_t index, const void **data, leco_error *err);
    leco_status (*check)(void *user, const char *place, leco_error *err);
    void *user;
} safetensors_maker;
leco_status safetensors_write_made(const char *path, const safetensors_entry *entries, size_t count,
                                   const char *const (*metadata)[2], size_t metadata_count, const safetensors_maker *by,
                                   leco_error *err);

/* Writes a copy of an open file, atomically: byte for byte, but for the data of those tensors for which `replace` gives
 * others: it sets *data to as many bytes of the same type, valid until it is asked for the next tensor, or leaves it
 * alone. It is asked for all tensors of types that leco computes with, in order of their data. */
typedef leco_status (*safetensors_replace)(void *user, const safetensors_entry *entry, const void **data,
                                           leco_error *err);
leco_status safetensors_copy(const safetensors *file, const char *path, safetensors_replace replace, void *user,
                             leco_error *err);

/* Where the tensors' data would begin in that file. */
leco_status safetensors_data_begin(const char *path, const safetensors_entry *entries, size_t count,
                                   const char *const (*metadata)[2], size_t metadata_count, size_t *out,
                                   leco_error *err);

#endif
