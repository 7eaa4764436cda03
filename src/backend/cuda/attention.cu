/* Attention and its gradient for heads of any width up to 512, in f32 arithmetic: what f32 models run, and the widths
 * that attention_mma.cu has no room for. And the softmax between two products, for a single head of such a width.
 *
 * A warp has one row: a query, or for dk and dv a key. It walks over the rows on the other side, a tile of them at a
 * time in shared memory. Lanes are tile rows while scores are computed, and channels while they are used. */
#include "backend/cuda/device.cuh"

enum { WARPS = 8, THREADS = 32 * WARPS };

/* Rows of a tile for heads of up to 32 * L channels: two tiles of 512 channels and what the gradient holds beside them
 * have to fit 64 KiB, which is all that a block has on Turing. */
template <int L> struct tile {
    static constexpr int rows = L <= 5 ? 32 : 7;
};

DEVICE int64_t row_at(const attention_shape &s, int64_t sample, int64_t head, int64_t rows, int64_t row)
{
    return ((sample * rows + row) * s.heads + head) * s.width;
}

/* Rows [first, first + R) of one head of x as f32 into room [R][stride]; zeros behind the last. */
template <class T, int R>
DEVICE void load_tile(const attention_shape &s, const T *x, int64_t rows, int64_t first, float *room, int stride)
{
    for (int i = (int)threadIdx.x; i < R * (int)s.width; i += THREADS) {
        const int row = i / (int)s.width, c = i % (int)s.width;
        const bool there = first + row < rows;
        room[row * stride + c] = there ? to_float(x[row_at(s, blockIdx.z, blockIdx.y, rows, first + row) + c]) : 0.0f;
    }
}

DEVICE float dot(const float *a, const float *b, int width)
{
    float sum = 0;
    for (int c = 0; c < width; c++) sum += a[c] * b[c];
    return sum;
}

template <class T, int L>
__global__ void __launch_bounds__(THREADS)
    attention_kernel(attention_shape s, const T *q, const T *k, const T *v, T *o, float *lse)
{
    constexpr int R = tile<L>::rows;
    SHARED_MEMORY(memory);
    const int width = (int)s.width, stride = width + 1, lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    float *keys = reinterpret_cast<float *>(memory), *values = keys + R * stride, *queries = values + R * stride;
    const int64_t first = (int64_t)blockIdx.x * WARPS, query = first + warp;
    load_tile<T, WARPS>(s, q, s.queries, first, queries, width);
    float most = -INFINITY, total = 0, sum[L] = {};
    for (int64_t at = 0; at < s.keys; at += R) {
        __syncthreads();
        load_tile<T, R>(s, k, s.keys, at, keys, stride);
        load_tile<T, R>(s, v, s.keys, at, values, stride);
        __syncthreads();
        const int64_t key = at + lane;
        const bool seen = lane < R && key < s.keys && !(s.causal && key > query);
        const float score = seen ? s.scale * dot(queries + warp * width, keys + lane * stride, width) : -INFINITY;
        const float larger = fmaxf(most, warp_most(score));
        const float p = seen ? expf(score - larger) : 0.0f, kept = larger > -INFINITY ? expf(most - larger) : 0.0f;
        total = total * kept + warp_sum(p);
        most = larger;
        UNROLL
        for (int i = 0; i < L; i++) sum[i] *= kept;
        for (int j = 0; j < R; j++) {
            const float weight = __shfl_sync(0xffffffffu, p, (unsigned)j);
            UNROLL
            for (int i = 0; i < L; i++)
                if (lane + 32 * i < width) sum[i] += weight * values[j * stride + lane + 32 * i];
        }
    }
    if (query >= s.queries) return;
    T *to = o + row_at(s, blockIdx.z, blockIdx.y, s.queries, query);
    UNROLL
    for (int i = 0; i < L; i++)
        if (lane + 32 * i < width) to[lane + 32 * i] = from_float<T>(sum[i] / total);
    if (lse && lane == 0) lse[(blockIdx.z * s.heads + blockIdx.y) * s.queries + query] = most + logf(total);
}

/* With OF_KEYS a warp's row is a key and it walks over queries: first = dk, second = dv. Otherwise its row is a query:
 * first = dq. The row has two vectors (q and do, or k and v), as have those that it meets. */
template <class T, int L, bool OF_KEYS>
__global__ void __launch_bounds__(THREADS)
    attention_grad_kernel(attention_shape s, attention_tensors t, T *first_out, T *second_out)
{
    constexpr int R = tile<L>::rows;
    SHARED_MEMORY(memory);
    const int width = (int)s.width, stride = width + 1, lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    float *met = reinterpret_cast<float *>(memory), *met_too = met + R * stride, *own = met_too + R * stride;
    float *own_too = own + WARPS * width;
    const T *q = static_cast<const T *>(t.q), *k = static_cast<const T *>(t.k), *v = static_cast<const T *>(t.v);
    const T *dout = static_cast<const T *>(t.dout);
    const int64_t rows = OF_KEYS ? s.keys : s.queries, others = OF_KEYS ? s.queries : s.keys;
    const int64_t first = (int64_t)blockIdx.x * WARPS, row = first + warp;
    const int64_t statistics = (blockIdx.z * s.heads + blockIdx.y) * s.queries;
    load_tile<T, WARPS>(s, OF_KEYS ? k : q, rows, first, own, width);
    load_tile<T, WARPS>(s, OF_KEYS ? v : dout, rows, first, own_too, width);
    float sum[L] = {}, sum_too[L] = {};
    for (int64_t at = 0; at < others; at += R) {
        __syncthreads();
        load_tile<T, R>(s, OF_KEYS ? q : k, others, at, met, stride);
        load_tile<T, R>(s, OF_KEYS ? dout : v, others, at, met_too, stride);
        __syncthreads();
        const int64_t other = at + lane, query = OF_KEYS ? other : row, key = OF_KEYS ? row : other;
        float p = 0, ds = 0;
        if (lane < R && query < s.queries && key < s.keys && !(s.causal && key > query)) {
            p = expf(s.scale * dot(own + warp * width, met + lane * stride, width) - t.lse[statistics + query]);
            ds = p * (dot(own_too + warp * width, met_too + lane * stride, width) - t.delta[statistics + query]);
        }
        for (int j = 0; j < R; j++) {
            const float weight = __shfl_sync(0xffffffffu, ds, (unsigned)j);
            const float weight_too = OF_KEYS ? __shfl_sync(0xffffffffu, p, (unsigned)j) : 0.0f;
            UNROLL
            for (int i = 0; i < L; i++) {
                if (lane + 32 * i >= width) continue;
                sum[i] += weight * met[j * stride + lane + 32 * i];
                if (OF_KEYS) sum_too[i] += weight_too * met_too[j * stride + lane + 32 * i];
            }
        }
    }
    if (row >= rows) return;
    const int64_t to = row_at(s, blockIdx.z, blockIdx.y, rows, row);
    UNROLL
    for (int i = 0; i < L; i++) {
        if (lane + 32 * i >= width) continue;
        if (first_out) first_out[to + lane + 32 * i] = from_float<T>(s.scale * sum[i]);
        if (second_out) second_out[to + lane + 32 * i] = from_float<T>(sum_too[i]);
    }
}

/* A warp has one query of one head. */
template <class T>
__global__ void __launch_bounds__(THREADS)
    delta_kernel(attention_shape s, const T *o, const T *dout, float *delta, int64_t count)
{
    const int64_t at = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32; /* [batch,queries,heads] */
    if (at >= count) return;
    float sum = 0;
    for (int c = (int)threadIdx.x % 32; c < s.width; c += 32)
        sum += to_float(o[at * s.width + c]) * to_float(dout[at * s.width + c]);
    sum = warp_sum(sum);
    const int64_t head = at % s.heads, query = at / s.heads % s.queries, sample = at / s.heads / s.queries;
    if (threadIdx.x % 32 == 0) delta[(sample * s.heads + head) * s.queries + query] = sum;
}

/* A block has a row of scores. p may be the scores. */
template <class T>
__global__ void __launch_bounds__(THREADS) softmax_kernel(const float *scores, T *p, float *lse, int64_t keys)
{
    SHARED_MEMORY(memory);
    float *room = reinterpret_cast<float *>(memory);
    const float *row = scores + blockIdx.x * keys;
    float most = -INFINITY, sum = 0;
    for (int64_t i = threadIdx.x; i < keys; i += THREADS) most = fmaxf(most, row[i]);
    most = block_most(most, room);
    for (int64_t i = threadIdx.x; i < keys; i += THREADS) sum += expf(row[i] - most);
    sum = block_sum(sum, room);
    for (int64_t i = threadIdx.x; i < keys; i += THREADS)
        p[blockIdx.x * keys + i] = from_float<T>(expf(row[i] - most) / sum);
    if (lse && threadIdx.x == 0) lse[blockIdx.x] = most + logf(sum);
}

/* ---- launching ---- */

static dim3 grid_of(const attention_shape *s, int64_t rows)
{
    return dim3((unsigned)((rows + WARPS - 1) / WARPS), (unsigned)s->heads, (unsigned)s->batch);
}

/* Two tiles, and `own` rows of each warp. */
template <int L> static size_t shared_of(const attention_shape *s, int own)
{
    return (size_t)(2 * tile<L>::rows * (s->width + 1) + own * WARPS * s->width) * sizeof(float);
}

template <class T, int L>
static void attention(const attention_shape *s, const void *q, const void *k, const void *v, void *o, float *lse)
{
    LAUNCH((attention_kernel<T, L>), grid_of(s, s->queries), THREADS, shared_of<L>(s, 1), *s, static_cast<const T *>(q),
           static_cast<const T *>(k), static_cast<const T *>(v), static_cast<T *>(o), lse);
}

template <class T, int L> static void attention_grad(const attention_shape *s, const attention_tensors *t)
{
    T *none = nullptr;
    if (t->dq)
        LAUNCH((attention_grad_kernel<T, L, false>), grid_of(s, s->queries), THREADS, shared_of<L>(s, 2), *s, *t,
               static_cast<T *>(t->dq), none);
    if (t->dk || t->dv)
        LAUNCH((attention_grad_kernel<T, L, true>), grid_of(s, s->keys), THREADS, shared_of<L>(s, 2), *s, *t,
               static_cast<T *>(t->dk), static_cast<T *>(t->dv));
}

/* Calls f<T,L> for the fewest channels a lane that are enough. */
#define AS_WIDTH(width, T, f, ...)                                                                                     \
    if ((width) <= 32)                                                                                                 \
        f<T, 1>(__VA_ARGS__);                                                                                          \
    else if ((width) <= 64)                                                                                            \
        f<T, 2>(__VA_ARGS__);                                                                                          \
    else if ((width) <= 160)                                                                                           \
        f<T, 5>(__VA_ARGS__);                                                                                          \
    else                                                                                                               \
        f<T, 16>(__VA_ARGS__)

void launch_attention(gpu_type type, const attention_shape *s, const void *q, const void *k, const void *v, void *o,
                      float *lse)
{
    AS_TYPE(type, T, AS_WIDTH(s->width, T, attention, s, q, k, v, o, lse));
}

void launch_attention_grad(gpu_type type, const attention_shape *s, const attention_tensors *t)
{
    AS_TYPE(type, T, AS_WIDTH(s->width, T, attention_grad, s, t));
}

template <class T> static void delta_of(const attention_shape *s, const attention_tensors *t)
{
    const int64_t count = s->batch * s->queries * s->heads;
    LAUNCH(delta_kernel<T>, (unsigned)((count + WARPS - 1) / WARPS), THREADS, 0, *s, static_cast<const T *>(t->o),
           static_cast<const T *>(t->dout), t->delta, count);
}

void launch_attention_delta(gpu_type type, const attention_shape *s, const attention_tensors *t)
{
    AS_TYPE(type, T, delta_of<T>(s, t));
}

void launch_softmax(gpu_type type, const float *scores, void *p, float *lse, int64_t rows, int64_t keys)
{
    AS_TYPE(
        type, T,
        LAUNCH(softmax_kernel<T>, (unsigned)rows, THREADS, 32 * sizeof(float), scores, static_cast<T *>(p), lse, keys));
}
