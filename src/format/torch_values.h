/* What the pickles of PyTorch's files hold beside texts and containers, for format/torch*.c only: PICKLE_OBJECT, whose
 * count says of what sort. */
#ifndef LECO_FORMAT_TORCH_VALUES_H
#define LECO_FORMAT_TORCH_VALUES_H

#include "format/pickle.h"
#include "format/safetensors.h"

enum { OBJECT_STORAGE, OBJECT_TENSOR, OBJECT_NUMPY_TYPE, OBJECT_NUMPY_ARRAY, OBJECT_ODD };

/* Elements that tensors are views of. */
typedef struct storage {
    const char *key, *type; /* NULL type: bytes */
    uint64_t count;         /* elements; bytes where there is no type */
    const unsigned char *data;
    size_t bytes;
} storage;

typedef struct view {
    const storage *of;
    const char *type;
    uint64_t offset; /* elements */
    int rank;
    uint64_t shape[SAFETENSORS_MAX_DIMS], stride[SAFETENSORS_MAX_DIMS];
} view;

static inline bool torch_is_object(const pickle_value *v, size_t sort)
{
    return v->kind == PICKLE_OBJECT && v->count == sort;
}

/* Whole numbers that aren't negative: one; a tuple of them. */
bool torch_is_whole(const pickle_value *v, uint64_t *out);
bool torch_read_dims(const pickle_value *v, uint64_t out[SAFETENSORS_MAX_DIMS]);

bool torch_is_tensor(const pickle_value *v);
/* The dict that all is about: root, or where it is in that under a name that says so ("state_dict", "lora"). */
const pickle_value *torch_find_state(const pickle_value *root);

/* What numpy's functions make (torch_globals.h): arrays are tensors, scalars numbers. An array that is no tensor
 * becomes an OBJECT_ODD, whose object is the name of its type, where it holds numbers, or else stays what it is. */
leco_status torch_numpy_call(arena *memory, const char *path, int what, const pickle_value *arguments,
                             pickle_value *out, leco_error *err);
/* Of an OBJECT_NUMPY_TYPE or OBJECT_NUMPY_ARRAY. */
leco_status torch_numpy_build(arena *memory, const char *path, pickle_value *of, const pickle_value *state,
                              leco_error *err);

#endif
