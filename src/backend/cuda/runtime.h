/* The card: found, opened, its memory and its stream. Everything is done on one stream, in order. */
#ifndef LECO_CUDA_RUNTIME_H
#define LECO_CUDA_RUNTIME_H

#include <assert.h>

#include "backend/backend.h"
#include "backend/cuda/launch.h"

/* Finds a card of compute capability 7.5 or later and makes it this process's, once; later calls give the same answer.
 * LECO_UNSUPPORTED: no card, no driver; LECO_DEVICE, saying why: an old one of either, one that fails, no cuBLASLt that
 * starts. CUDA_VISIBLE_DEVICES chooses among several. */
leco_status gpu_open(leco_error *err);
const char *gpu_name(void); /* of the card that is open: "NVIDIA H100 80GB HBM3" */
int gpu_capability(void);   /* ten times the compute capability: 75, 90 */

extern const device_memory gpu_memory;
extern const recorder gpu_recorder;
extern const stopwatch gpu_stopwatch;

/* Seconds that `run` takes on the card: the least of `runs`. */
double gpu_seconds(void (*run)(void *with), void *with, int runs);

static inline gpu_type gpu_type_of(dtype type)
{
    assert(type == DTYPE_F32 || type == DTYPE_BF16 || type == DTYPE_F16);
    return type == DTYPE_F32 ? GPU_F32 : type == DTYPE_BF16 ? GPU_BF16 : GPU_F16;
}

#endif
