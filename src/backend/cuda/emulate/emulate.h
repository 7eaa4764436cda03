/* CUDA's kernel language on the host, for machines without a card: tests run the kernels of this backend through it.
 *
 * A block runs on one thread of the host. Its CUDA threads are fibers, which change at barriers and at collective
 * operations of a warp only; blocks run in ascending and descending order of threads by turns, so that a missing
 * barrier shows as a wrong result. Shared memory that a launch asks for is filled with NaN before each block. A barrier
 * that some threads never reach ends the process with a sentence. What isn't here: atomics (no kernel uses them),
 * streams, textures. */
#ifndef LECO_CUDA_EMULATE_H
#define LECO_CUDA_EMULATE_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>

#include "backend/cuda/emulate/card.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static thread_local

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};

/* What a fiber sees of itself. */
struct emulated_place {
    dim3 thread, block, block_size, grid_size;
};
extern __thread emulated_place
    *emulated_here; /* not thread_local: its wrapper looks like a null pointer to gcc's UBSan */
#define threadIdx (emulated_here->thread)
#define blockIdx (emulated_here->block)
#define blockDim (emulated_here->block_size)
#define gridDim (emulated_here->grid_size)

void __syncthreads();
void __syncwarp(unsigned mask = 0xffffffffu);
unsigned char *emulated_shared(); /* the shared memory that the launch asked for */

/* A collective operation of a warp: each lane shows `bytes` (64 at most), waits for the others, and may then look at
 * what any of them showed, until the operation after the next. */
const void *const *emulated_show(const void *what, size_t bytes);

template <class T> T emulated_shuffle(T value, unsigned lane)
{
    T result;
    memcpy(&result, emulated_show(&value, sizeof value)[lane % 32], sizeof result);
    return result;
}
template <class T> T __shfl_sync(unsigned, T value, unsigned lane)
{
    return emulated_shuffle(value, lane);
}
template <class T> T __shfl_xor_sync(unsigned, T value, unsigned mask)
{
    return emulated_shuffle(value, (threadIdx.x % 32) ^ mask);
}

void emulated_launch(dim3 grid, dim3 block, size_t shared, void (*run)(const void *), const void *with);

/* Parameters are copied when the kernel is launched, as CUDA does. */
template <class... P, class... A>
void emulated_launch_of(dim3 grid, dim3 block, size_t shared, void (*kernel)(P...), const A &...arguments)
{
    const std::tuple<P...> kept(arguments...);
    auto run = [=]() { std::apply(kernel, kept); };
    using work = decltype(run);
    emulated_do([=]() {
        emulated_launch(
            grid, block, shared, [](const void *with) { (*static_cast<const work *>(with))(); }, &run);
    });
}

/* ---- number formats ---- */

struct bf16 {
    uint16_t bits;
};
struct f16 {
    uint16_t bits;
};
float emulated_float(f16 value);
f16 emulated_f16(float value);

static inline float to_float(bf16 value)
{
    uint32_t bits = (uint32_t)value.bits << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}
static inline float to_float(f16 value)
{
    return emulated_float(value);
}
template <class T> inline T from_float(float value);
template <> inline bf16 from_float<bf16>(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return bf16{(uint16_t)((bits >> 16) | 0x40u)};
    bits += 0x7fffu + ((bits >> 16) & 1u);
    return bf16{(uint16_t)(bits >> 16)};
}
template <> inline f16 from_float<f16>(float value)
{
    return emulated_f16(value);
}

static inline float exp2_fast(float x)
{
    return exp2f(x);
}

struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};

#endif
