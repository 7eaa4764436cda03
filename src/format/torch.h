/* PyTorch's files, .pt, .pth, .ckpt and .bin: tensors in a pickle. Both forms, the zip archive of today and the
 * sequence of pickles from before version 1.6.
 *
 * What is read is data: dicts of tensors, however deep, each named by its keys with points between
 * ("string_to_param.*"). The state_dict of a checkpoint is what it is all about: its names come without that key, as
 * do those of a dict called "model", "lora", "weights" or "network" where no tensor stands beside it. numpy's arrays
 * are tensors, and so are numbers called "LAYER.alpha" (or scale, scalar). Everything else, lists, other numbers and
 * texts, is passed over. Nothing in the file is run; a pickle that asks for anything but tensors and containers is
 * LECO_UNSUPPORTED by that name. Sources: torch/serialization.py and torch/_utils.py of PyTorch 2.8. */
#ifndef LECO_FORMAT_TORCH_H
#define LECO_FORMAT_TORCH_H

#include "format/safetensors.h"

/* Is that PyTorch's, by its first bytes? */
bool torch_is(const void *data, size_t size);

/* The same as safetensors_open. Tensors whose elements don't lie in order in the file are copied. */
leco_status torch_open(const char *path, safetensors **out, leco_error *err);

#endif
