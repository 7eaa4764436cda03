/* What pickles of PyTorch may ask for, for format/torch.c. */
#ifndef LECO_FORMAT_TORCH_GLOBALS_H
#define LECO_FORMAT_TORCH_GLOBALS_H

#include "format/pickle.h"

/* pickle_global.what. What is passed over may stand beside tensors; called, it is nothing. */
enum {
    DICT,
    TENSOR,
    TENSOR_OF_TYPE,
    PARAMETER,
    TYPED,
    BYTES_OF_TEXT,
    NUMPY_TYPE,
    NUMPY_SCALAR,
    NUMPY_ARRAY,
    NUMPY_BUFFER,
    PASSED_OVER
};

#define STORAGES 64    /* the storage and the type of row i of torch_types are STORAGES + i and 2 * STORAGES + i */
enum { UNTYPED = 20 }; /* the row of storages of bytes, whose type is told with the tensor */

extern const char *const torch_types[]; /* as safetensors spells them */
extern const pickle_global torch_globals[];

#endif
