/* PyTorch's files, for tests of what reads them where a model is wanted. */
#ifndef TESTS_TEST_TORCH_H
#define TESTS_TEST_TORCH_H

#include "format/safetensors.h"

/* Writes float32 tensors as torch.save does, a dict in a zip archive, but for checksums. */
void test_torch_write(const char *path, const safetensors_entry *entries, size_t count);

#endif
