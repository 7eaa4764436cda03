/* Products of bf16 and f16 on matrix units (mma.sync, m16n8k16), what feeds them, and their twins for the host.
 *
 * Fragments, lane = 4 g + t: A [16,16]: a[0] row g, columns 2t and 2t + 1; a[1] row g + 8; a[2], a[3] the same 8
 * columns further. B [16,8]: b[0] rows 2t and 2t + 1 of column g; b[1] 8 rows further. C [16,8]: c[0], c[1] row g,
 * columns 2t and 2t + 1; c[2], c[3] row g + 8. */
#ifndef LECO_CUDA_MMA_H
#define LECO_CUDA_MMA_H

#include "backend/cuda/device.cuh"

#if defined(LECO_EMULATE)

template <class T> DEVICE uint32_t pack2(float low, float high)
{
    return (uint32_t)from_float<T>(low).bits | (uint32_t)from_float<T>(high).bits << 16;
}

template <class T> DEVICE float half_of(uint32_t pair, int which)
{
    return to_float(T{(uint16_t)(pair >> (16 * which))});
}

/* c += a b */
template <class T> DEVICE void multiply_add(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    const uint32_t mine[6] = {a[0], a[1], a[2], a[3], b0, b1};
    const void *const *shown = emulated_show(mine, sizeof mine);
    const int lane = (int)threadIdx.x % 32;
    for (int i = 0; i < 4; i++) {
        const int row = lane / 4 + i / 2 * 8, column = 2 * (lane % 4) + i % 2;
        for (int k = 0; k < 16; k++) {
            const uint32_t *left = static_cast<const uint32_t *>(shown[row % 8 * 4 + k % 8 / 2]);
            const uint32_t *right = static_cast<const uint32_t *>(shown[column * 4 + k % 8 / 2]);
            c[i] += half_of<T>(left[row / 8 + k / 8 * 2], k % 2) * half_of<T>(right[4 + k / 8], k % 2);
        }
    }
}

/* Four 8x8 matrices; lane i points at row i % 8 of matrix i / 8. r[m] of lane 4 g + t: row g, columns 2t and 2t + 1. */
template <class T> DEVICE void load_matrices(uint32_t r[4], const T *row)
{
    const void *const *shown = emulated_show(&row, sizeof row);
    const int lane = (int)threadIdx.x % 32;
    for (int m = 0; m < 4; m++)
        memcpy(&r[m], *static_cast<const T *const *>(shown[m * 8 + lane / 4]) + 2 * (lane % 4), sizeof r[m]);
}

/* The same transposed: rows 2t and 2t + 1 of column g. */
template <class T> DEVICE void load_matrices_transposed(uint32_t r[4], const T *row)
{
    const void *const *shown = emulated_show(&row, sizeof row);
    const int lane = (int)threadIdx.x % 32;
    for (int m = 0; m < 4; m++) {
        r[m] = 0;
        for (int i = 0; i < 2; i++) {
            const T *from = *static_cast<const T *const *>(shown[m * 8 + 2 * (lane % 4) + i]);
            r[m] |= (uint32_t)from[lane / 4].bits << (16 * i);
        }
    }
}

/* 16 bytes to shared memory, zeros where they aren't `there`; done after copies_wait and a barrier. */
DEVICE void copy_async(void *to, const void *from, bool there)
{
    if (there)
        memcpy(to, from, 16);
    else
        memset(to, 0, 16);
}
DEVICE void copies_commit()
{
}
template <int LEFT> DEVICE void copies_wait()
{
}

#else

template <class T> DEVICE uint32_t pack2(float low, float high);
template <> __device__ __forceinline__ uint32_t pack2<bf16>(float low, float high)
{
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t *>(&pair);
}
template <> __device__ __forceinline__ uint32_t pack2<f16>(float low, float high)
{
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t *>(&pair);
}
template <class T> DEVICE void multiply_add(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1);
template <>
__device__ __forceinline__ void multiply_add<bf16>(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else /* Turing has no bf16: this is never called there */
    c[0] = a[0] + b0 + b1;
#endif
}
template <> __device__ __forceinline__ void multiply_add<f16>(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else /* Turing's are half as deep: the same fragments, one half after the other */
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}

template <class T> DEVICE void load_matrices(uint32_t r[4], const T *row)
{
    const unsigned at = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at));
}

template <class T> DEVICE void load_matrices_transposed(uint32_t r[4], const T *row)
{
    const unsigned at = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at));
}

DEVICE void copy_async(void *to, const void *from, bool there)
{
#if __CUDA_ARCH__ >= 800
    const unsigned at = (unsigned)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(there ? 16 : 0) : "memory");
#else
    *reinterpret_cast<uint4 *>(to) = there ? *reinterpret_cast<const uint4 *>(from) : make_uint4(0, 0, 0, 0);
#endif
}
DEVICE void copies_commit()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int LEFT> DEVICE void copies_wait()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#endif
}

#endif

#endif
