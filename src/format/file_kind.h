/* What a file is that was taken for a safetensors file. */
#ifndef LECO_FORMAT_FILE_KIND_H
#define LECO_FORMAT_FILE_KIND_H

#include <stdbool.h>
#include <stddef.h>

typedef struct file_kind {
    const char *is; /* "a PyTorch .pt/.ckpt file (a zip archive of pickled tensors)"; NULL: nothing known */
    bool pickle;    /* PyTorch's, so that it can be converted */
} file_kind;

/* By the first bytes. Static strings. */
file_kind file_kind_of(const void *data, size_t size);

#endif
