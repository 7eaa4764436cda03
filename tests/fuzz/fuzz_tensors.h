/* For targets whose inputs are safetensors files. */
#ifndef FUZZ_TENSORS_H
#define FUZZ_TENSORS_H

#include <stddef.h>
#include <stdint.h>

/* Makes the first eight bytes the length of the header, which ends at the last brace and the spaces behind it. Returns
 * the size. */
size_t fuzz_repair_header(uint8_t *data, size_t size);

/* Also makes each tensor's offsets, and the bytes that follow the header, what its type and shape say. */
size_t fuzz_repair_tensors(uint8_t *data, size_t size, size_t capacity);

#endif
