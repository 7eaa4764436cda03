/* Opening files of tensors, whatever their format; what is in them is looked at by format/safetensors.h. */
#ifndef LECO_FORMAT_TENSORS_H
#define LECO_FORMAT_TENSORS_H

#include "format/safetensors.h"

/* A .safetensors file or PyTorch's .pt, .ckpt, .bin (format/torch.h), by its first bytes. Or, by a name that ends with
 * .json, several of these as one: the index that transformers and diffusers write beside them, {"weight_map": {tensor:
 * file}}. Files are named without a folder in it: another place than the index's is LECO_FORMAT, as is a tensor that
 * isn't in its file. On failure *out is NULL. */
leco_status tensors_open(const char *path, safetensors **out, leco_error *err);

/* Writes an open file, whatever its format, as one .safetensors file, atomically; data of tensors as safetensors_copy
 * has them. Tensors of types that leco doesn't compute with are left out; *left_out is how many. */
leco_status tensors_rewrite(const safetensors *file, const char *path, safetensors_replace replace, void *user,
                            size_t *left_out, leco_error *err);

#endif
