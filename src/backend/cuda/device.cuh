/* What the kernels of this backend are written with: CUDA's own language, or its emulation on the host. */
#ifndef LECO_CUDA_DEVICE_H
#define LECO_CUDA_DEVICE_H

#include "backend/cuda/launch.h"

#if defined(LECO_EMULATE)
#include "backend/cuda/emulate/emulate.h"
#define DEVICE static inline
#define UNROLL
#define UNROLL_BY(n)
#define SHARED_MEMORY(name) unsigned char *name = emulated_shared()
#define LAUNCH(kernel, grid, block, shared, ...)                                                                       \
    do {                                                                                                               \
        emulated_launch_of(grid, block, shared, kernel, __VA_ARGS__);                                                  \
    } while (0)
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define DEVICE static __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define UNROLL_BY(n) UNROLL_TEXT(unroll n)
#define UNROLL_TEXT(text) _Pragma(#text)
#define SHARED_MEMORY(name) extern __shared__ __align__(128) unsigned char name[]
#define LAUNCH(kernel, grid, block, shared, ...)                                                                       \
    do {                                                                                                               \
        auto *kernel_ = kernel;                                                                                        \
        if ((shared) > 48 * 1024)                                                                                      \
            cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel_), cudaFuncAttributeMaxDynamicSharedMemorySize, \
                                 (int)(shared));                                                                       \
        kernel_<<<grid, block, shared, static_cast<cudaStream_t>(gpu_stream())>>>(__VA_ARGS__);                        \
        gpu_launched(cudaGetLastError(), #kernel);                                                                     \
    } while (0)

using bf16 = __nv_bfloat16;
using f16 = __half;

DEVICE float to_float(bf16 value)
{
    return __bfloat162float(value);
}
DEVICE float to_float(f16 value)
{
    return __half2float(value);
}
template <class T> __device__ T from_float(float value);
template <> __device__ __forceinline__ bf16 from_float<bf16>(float value)
{
    return __float2bfloat16(value);
}
template <> __device__ __forceinline__ f16 from_float<f16>(float value)
{
    return __float2half(value);
}
DEVICE float exp2_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
#endif

DEVICE float to_float(float value)
{
    return value;
}
#if defined(LECO_EMULATE)
template <> inline float from_float<float>(float value)
#else
template <> __device__ __forceinline__ float from_float<float>(float value)
#endif
{
    return value;
}

/* With T the element type that models are computed in: AS_TYPE(type, T, launch<T>(...)). */
#define AS_TYPE(type, T, ...)                                                                                          \
    if ((type) == GPU_F32) {                                                                                           \
        using T = float;                                                                                               \
        __VA_ARGS__;                                                                                                   \
    } else {                                                                                                           \
        AS_HALF(type, T, __VA_ARGS__)                                                                                  \
    }
/* The same for the types of 16 bits. */
#define AS_HALF(type, T, ...)                                                                                          \
    if ((type) == GPU_BF16) {                                                                                          \
        using T = bf16;                                                                                                \
        __VA_ARGS__;                                                                                                   \
    } else {                                                                                                           \
        using T = f16;                                                                                                 \
        __VA_ARGS__;                                                                                                   \
    }
/* T is the type, U either the same or float: targets of losses, weights that come in f32. */
#define AS_TYPE_OR_F32(type, other, T, U, ...)                                                                         \
    if ((other) == GPU_F32) {                                                                                          \
        using U = float;                                                                                               \
        AS_TYPE(type, T, __VA_ARGS__)                                                                                  \
    } else {                                                                                                           \
        AS_HALF(type, T, using U = T; __VA_ARGS__)                                                                     \
    }

/* N elements that are loaded and stored at once; N = 1 where 16 bytes don't fit the layout. */
template <class T, int N> struct alignas(N * sizeof(T) > 16 ? 16 : N * sizeof(T)) pack {
    T at[N];
};
/* Elements in 16 bytes. */
template <class T> struct widest {
    static constexpr int count = 16 / (int)sizeof(T);
};

/* Calls f<T,N> with the widest N that divides `channels`: 16 bytes, or one element. */
#define AS_PACKS(type, channels, f, ...)                                                                               \
    AS_TYPE(type, T, if ((channels) % widest<T>::count == 0) f<T, widest<T>::count>(__VA_ARGS__);                      \
            else f<T, 1>(__VA_ARGS__))

DEVICE float warp_sum(float value)
{
    UNROLL
    for (unsigned i = 16; i > 0; i /= 2) value += __shfl_xor_sync(0xffffffffu, value, i);
    return value;
}
DEVICE float warp_most(float value)
{
    UNROLL
    for (unsigned i = 16; i > 0; i /= 2) value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, i));
    return value;
}

/* The largest, in every thread, as block_sum. */
DEVICE float block_most(float value, float *room)
{
    const unsigned warps = blockDim.x / 32, lane = threadIdx.x % 32;
    value = warp_most(value);
    __syncthreads();
    if (lane == 0) room[threadIdx.x / 32] = value;
    __syncthreads();
    return warp_most(lane < warps ? room[lane] : -INFINITY);
}

/* The sum over a block of up to 1024 threads, in every thread; the order is fixed. `room` is 32 floats of shared
 * memory, free again after the next barrier. */
DEVICE float block_sum(float value, float *room)
{
    const unsigned warps = blockDim.x / 32, lane = threadIdx.x % 32;
    value = warp_sum(value);
    __syncthreads(); /* whoever used `room` before is done */
    if (lane == 0) room[threadIdx.x / 32] = value;
    __syncthreads();
    return warp_sum(lane < warps ? room[lane] : 0.0f);
}

DEVICE float logistic(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

DEVICE float silu_derivative(float x)
{
    const float s = logistic(x);
    return s * (1.0f + x * (1.0f - s));
}

/* Where this thread begins, and how far it goes on from one element to its next. */
DEVICE int64_t first_index()
{
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}
DEVICE int64_t index_step()
{
    return (int64_t)gridDim.x * blockDim.x;
}

/* Blocks of `threads` for `count` elements, each thread going on where there are more than a card could run at once. */
static inline unsigned blocks_for(int64_t count, int threads)
{
    const int64_t blocks = (count + threads - 1) / threads, most = 1 << 16;
    return (unsigned)(blocks < 1 ? 1 : blocks < most ? blocks : most);
}

#endif
