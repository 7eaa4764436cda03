/* The kernels of this backend, as C calls them (hadamard.h has its own): each starts its kernel on the stream and
 * returns. Pointers are the device's; `type` is that of x, y and whatever else nothing is said of. Formulas: op/op.h.
 * Sums are in f32 and in an order that depends on the shapes alone. */
#ifndef LECO_CUDA_LAUNCH_H
#define LECO_CUDA_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Stands before each launcher that another header declares. */
#ifdef __cplusplus
#define LAUNCHER extern "C"
extern "C" {
#else
#define LAUNCHER
#endif

typedef enum gpu_type { GPU_F32, GPU_BF16, GPU_F16 } gpu_type;

void *gpu_stream(void); /* a cudaStream_t */
/* Both keep the first failure until gpu_memory.synchronise (runtime.h) asks. */
void gpu_launched(int error, const char *name); /* a cudaError_t */
void gpu_failed(const char *what, const char *why);
int gpu_processors(void);      /* multiprocessors of the card */
size_t gpu_shared_bytes(void); /* of shared memory, the most that a block may have */

/* elementwise.cu */
void launch_geglu(gpu_type type, const void *x, void *y, int64_t rows, int64_t channels);
void launch_geglu_dx(gpu_type type, const void *dy, const void *x, void *dx, int64_t rows, int64_t channels);
void launch_activation(gpu_type type, int activation, const void *x, void *y, int64_t count);
void launch_activation_dx(gpu_type type, int activation, const void *dy, const void *x, void *dx, int64_t count);
void launch_add(gpu_type type, const void *a, const void *b, void *y, int64_t count);
/* y [samples,positions,channels] = x + v [samples,channels] */
void launch_add_spatial(gpu_type type, const void *x, const void *v, void *y, int64_t samples, int64_t positions,
                        int64_t channels);
/* y [rows,channels] = x + bias [channels] + add; either may be NULL. */
void launch_add_bias(gpu_type type, const void *x, const void *bias, const void *add, void *y, int64_t rows,
                     int64_t channels);
/* Numbers in [-1, 1) that follow from their index. */
void launch_noise(gpu_type type, void *y, int64_t count);
/* Holds the stream up for so long. */
void launch_pause(int milliseconds);
void launch_convert(gpu_type from, gpu_type to, const void *x, void *y, int64_t count);
#define MSE_PARTS 256 /* floats of scratch */
void launch_mse(gpu_type type, gpu_type target_type, const void *x, const void *target, float *loss, float *parts,
                int64_t count);
void launch_mse_dx(gpu_type type, gpu_type target_type, const void *x, const void *target, const float *dloss, void *dx,
                   int64_t count);

/* layout.cu */
void launch_sum_spatial(gpu_type type, const void *x, void *y, float scale, int64_t samples, int64_t positions,
                        int64_t channels);
/* dst [rows,dst_width] at columns [dst_from, + length) = src [rows,src_width] from src_from on; any type of `size`. */
void launch_copy_columns(size_t size, void *dst, int64_t dst_width, int64_t dst_from, const void *src,
                         int64_t src_width, int64_t src_from, int64_t rows, int64_t length);
void launch_copy(const void *from, void *to, int64_t bytes); /* an even number */
/* Images [samples,height,width,channels]. */
void launch_upsample(gpu_type type, const void *x, void *y, int64_t samples, int64_t height, int64_t width,
                     int64_t to_height, int64_t to_width, int64_t channels);
void launch_upsample_dx(gpu_type type, const void *dy, void *dx, int64_t samples, int64_t height, int64_t width,
                        int64_t from_height, int64_t from_width, int64_t channels);
void launch_timestep_embedding(gpu_type type, const float *t, void *y, int64_t samples, int64_t width, bool cos_first,
                               float freq_shift);
void launch_embedding(gpu_type type, const int32_t *ids, const void *table, const void *position, void *y,
                      int64_t samples, int64_t tokens, int64_t width, int64_t table_rows);
void launch_add_rows(gpu_type type, const void *x, const int32_t *ids, const float *rows, void *y, int64_t tokens,
                     int64_t width, int64_t from, int64_t row_count);
void launch_add_rows_dw(gpu_type type, const void *dy, const int32_t *ids, const float *add, float *dw, int64_t tokens,
                        int64_t width, int64_t from, int64_t row_count);
void launch_select_rows(gpu_type type, const void *x, const int32_t *index, void *y, int64_t samples, int64_t tokens,
                        int64_t width);
void launch_select_rows_dx(gpu_type type, const void *dy, const int32_t *index, void *dx, int64_t samples,
                           int64_t tokens, int64_t width);

/* window.cu: convolutions as products; positions are those of the output, taps those of the kernel. */
typedef struct conv_shape {
    int64_t n, h, w, in, ho, wo, out, kh, kw;
    int stride, top, left, bottom, right;
} conv_shape;
/* rows [count,kh*kw*in] = the windows of positions [first, first + count) of x [n,h,w,in]. */
void launch_gather(gpu_type type, const conv_shape *s, const void *x, void *rows, int64_t first, int64_t count);
/* dx [n,h,w,in] = sum over the windows that hold a pixel of rows [n*ho*wo,kh*kw*in] f32, + add (may be NULL). */
void launch_scatter(gpu_type type, const conv_shape *s, const float *rows, const void *add, void *dx, int64_t first_n,
                    int64_t samples);
/* A convolution's weight [out,in,taps] of type `from` as [out,taps,in] of type `to`. */
void launch_channels_last(gpu_type from, gpu_type to, const void *w, void *packed, int64_t out, int64_t in,
                          int64_t taps);
/* dw [out,in,taps] = sum [out,taps,in] + add [out,in,taps], which may be NULL, or dw. */
void launch_taps_last(const float *sum, const float *add, float *dw, int64_t out, int64_t in, int64_t taps);

/* norm.cu: statistics f32 [samples,groups,2] or [rows,2], may be NULL. */
size_t group_norm_scratch(int64_t samples, int64_t positions, int64_t channels, int64_t groups); /* bytes, for both */
typedef struct group_norm_shape {
    int64_t samples, positions, channels, groups;
    float eps;
    bool silu;
} group_norm_shape;
void launch_group_norm(gpu_type type, const group_norm_shape *s, const void *x, const void *gamma, const void *beta,
                       void *y, float *statistics, float *scratch);
void launch_group_norm_dx(gpu_type type, const group_norm_shape *s, const void *dy, const void *x, const void *gamma,
                          const void *beta, const float *statistics, const void *add, void *dx, float *scratch);
void launch_layer_norm(gpu_type type, const void *x, const void *gamma, const void *beta, void *y, float *statistics,
                       int64_t rows, int64_t channels, float eps);
void launch_layer_norm_dx(gpu_type type, const void *dy, const void *x, const void *gamma, const float *statistics,
                          const void *add, void *dx, int64_t rows, int64_t channels);

/* attention.cu: any width of a head up to 512, in f32 arithmetic; attention_mma.cu: types of 16 bits, on matrix units,
 * where attention_mma_serves says so. Gradients that aren't wanted are NULL. */
typedef struct attention_shape {
    int64_t batch, queries, keys, heads, width;
    float scale;
    bool causal;
} attention_shape;
typedef struct attention_tensors {
    const void *q, *k, *v, *o, *dout;
    const float *lse;
    float *delta; /* scratch [batch,heads,queries] f32 */
    void *dq, *dk, *dv;
    float *parts; /* scratch [part_count,2,batch,keys,heads,width] f32 where part_count > 1 */
    int part_count;
} attention_tensors;
#define ATTENTION_MOST_WIDTH 512
#define ATTENTION_MMA_MOST_WIDTH 160
void launch_attention(gpu_type type, const attention_shape *s, const void *q, const void *k, const void *v, void *o,
                      float *lse);
void launch_attention_grad(gpu_type type, const attention_shape *s, const attention_tensors *t);
/* delta = sum(do * o) of each row and head. */
void launch_attention_delta(gpu_type type, const attention_shape *s, const attention_tensors *t);
/* p [rows,keys] = softmax of each row of scores [rows,keys] f32, which it may be where type is f32; lse [rows] may be
 * NULL. */
void launch_softmax(gpu_type type, const float *scores, void *p, float *lse, int64_t rows, int64_t keys);
int attention_mma_parts(const attention_shape *s); /* how many of dk and dv there should be */
bool attention_mma_serves(gpu_type type, const attention_shape *s, bool gradient);
void launch_attention_mma(gpu_type type, const attention_shape *s, const void *q, const void *k, const void *v, void *o,
                          float *lse);
void launch_attention_mma_grad(gpu_type type, const attention_shape *s, const attention_tensors *t);

/* narrow.cu: products with a side `rank` of at most NARROW_MOST. The small matrix is f32; its element of rank k and
 * wide index i is at[k * rank_step + i * wide_step]. add may be NULL, or the output itself. */
#define NARROW_MOST 16
typedef struct narrow_weight {
    const float *at;
    int64_t rank_step, wide_step;
} narrow_weight;
/* y [rows,rank] = scale * x [rows,depth] w + add */
void launch_narrow_reduce(gpu_type type, const void *x, const narrow_weight *w, const void *add, void *y, int64_t rows,
                          int64_t depth, int64_t rank, float scale);
/* y [rows,columns] = scale * low [rows,rank] w + add */
void launch_narrow_expand(gpu_type type, const void *low, const narrow_weight *w, const void *add, void *y,
                          int64_t rows, int64_t columns, int64_t rank, float scale);
/* dw (written) = scale * narrow [rows,rank]^T wide [rows,columns] + add, f32; parts: narrow_dw_scratch bytes */
size_t narrow_dw_scratch(int64_t rows, int64_t columns, int64_t rank);
void launch_narrow_dw(gpu_type type, const void *narrow, const void *wide, const float *add, const narrow_weight *dw,
                      int64_t rows, int64_t columns, int64_t rank, float scale, float *parts);

#ifdef __cplusplus
}
#endif

#endif
