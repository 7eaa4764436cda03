/* Attention on matrix units: see attention_tiles.cuh. */
#include "backend/cuda/attention_tiles.cuh"

/* The softmax of one group's rows so far, in powers of two. */
struct running {
    float most[2], total[2];
};

/* Takes in the scores of one step: c becomes p, and what was summed so far is scaled to the new maximum. */
template <int P, int N>
DEVICE void softmax_step(running *r, float (&sum)[P / 8][4], float (&c)[N / 8][4], const attention_shape &s,
                         int64_t query, int64_t key, float scale, bool masked)
{
    const int lane = (int)threadIdx.x % 32;
    UNROLL
    for (int half = 0; half < 2; half++) {
        float most = r->most[half];
        UNROLL
        for (int j = 0; j < N / 8; j++) {
            UNROLL
            for (int i = 0; i < 2; i++) {
                float *score = &c[j][2 * half + i];
                *score *= scale;
                const int64_t at = key + 8 * j + 2 * (lane % 4) + i;
                if (masked && (at >= s.keys || (s.causal && at > query + lane / 4 + 8 * half))) *score = -INFINITY;
                most = fmaxf(most, *score);
            }
        }
        most = quad_most(most);
        const float base = most > -INFINITY ? most : 0.0f, kept = exp2_fast(r->most[half] - base);
        float total = 0;
        UNROLL
        for (int j = 0; j < N / 8; j++) {
            UNROLL
            for (int i = 0; i < 2; i++) {
                c[j][2 * half + i] = exp2_fast(c[j][2 * half + i] - base);
                total += c[j][2 * half + i];
            }
        }
        r->most[half] = most;
        r->total[half] = r->total[half] * kept + total;
        UNROLL
        for (int j = 0; j < P / 8; j++) {
            sum[j][2 * half] *= kept;
            sum[j][2 * half + 1] *= kept;
        }
    }
}

template <class T, int P>
__global__ void __launch_bounds__(THREADS)
    attention_mma_kernel(attention_shape s, const T *q, const T *k, const T *v, T *o, float *lse)
{
    constexpr int G = tiles<T, P>::groups, KEYS = tiles<T, P>::keys, QUERIES = tiles<T, P>::queries,
                  ROW = tiles<T, P>::row;
    SHARED_MEMORY(memory);
    T *queries = reinterpret_cast<T *>(memory), *keys = queries + QUERIES * ROW, *values = keys + 2 * KEYS * ROW;
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    const int64_t first = (int64_t)blockIdx.x * QUERIES;
    const head_rows<const T> key_rows = head_of(s, k, s.keys), value_rows = head_of(s, v, s.keys);
    int64_t end = s.keys;
    if (s.causal && first + QUERIES < end) end = first + QUERIES;
    copy_rows<T, P, QUERIES>(head_of(s, q, s.queries), first, queries);
    copy_rows<T, P, KEYS>(key_rows, 0, keys);
    copy_rows<T, P, KEYS>(value_rows, 0, values);
    copies_commit();
    running r[G] = {};
    float sum[G][P / 8][4] = {};
    UNROLL
    for (int g = 0; g < G; g++) r[g].most[0] = r[g].most[1] = -INFINITY;
    int stage = 0;
    for (int64_t at = 0; at < end; at += KEYS, stage ^= 1) {
        if (at + KEYS < end) {
            copy_rows<T, P, KEYS>(key_rows, at + KEYS, keys + (stage ^ 1) * KEYS * ROW);
            copy_rows<T, P, KEYS>(value_rows, at + KEYS, values + (stage ^ 1) * KEYS * ROW);
        }
        copies_commit();
        copies_wait<1>();
        __syncthreads();
        const bool masked = at + KEYS > s.keys || s.causal;
        float c[G][KEYS / 8][4] = {};
        multiply_rows<T, P, KEYS, G>(c, queries, warp * G * 16, keys + stage * KEYS * ROW);
        UNROLL
        for (int g = 0; g < G; g++)
            softmax_step<P, KEYS>(&r[g], sum[g], c[g], s, first + (warp * G + g) * 16, at, s.scale * LOG2_E, masked);
        multiply_columns<T, P, KEYS, G>(sum, c, values + stage * KEYS * ROW);
        __syncthreads();
    }
    UNROLL
    for (int g = 0; g < G; g++) {
        const int64_t row = first + (warp * G + g) * 16;
        float factor[2];
        UNROLL
        for (int half = 0; half < 2; half++) {
            const float total = quad_sum(r[g].total[half]);
            const int64_t query = row + lane / 4 + 8 * half;
            factor[half] = 1.0f / total;
            if (lse && lane % 4 == 0 && query < s.queries)
                lse[(blockIdx.z * s.heads + blockIdx.y) * s.queries + query] = (r[g].most[half] + log2f(total)) * LN_2;
        }
        store_rows<T, P>(head_of(s, o, s.queries), row, sum[g], factor);
    }
}

/* ---- launching ---- */

template <class T, int P>
static void attention_mma(const attention_shape *s, const void *q, const void *k, const void *v, void *o, float *lse)
{
    const size_t bytes = forward_bytes<T, P>();
    LAUNCH((attention_mma_kernel<T, P>), grid_of(s, s->queries, tiles<T, P>::queries), THREADS, bytes, *s,
           static_cast<const T *>(q), static_cast<const T *>(k), static_cast<const T *>(v), static_cast<T *>(o), lse);
}

template <class T, int P> static void count_bytes(bool gradient, size_t *bytes)
{
    *bytes = gradient ? backward_bytes<T, P>() : forward_bytes<T, P>();
}

bool attention_mma_serves(gpu_type type, const attention_shape *s, bool gradient)
{
    if (type == GPU_F32 || s->width % 8 != 0 || s->width > ATTENTION_MMA_MOST_WIDTH) return false;
    size_t bytes = 0;
    AS_HALF(type, T, AS_WIDTH(s->width, T, count_bytes, gradient, &bytes));
    return bytes <= gpu_shared_bytes();
}

void launch_attention_mma(gpu_type type, const attention_shape *s, const void *q, const void *k, const void *v, void *o,
                          float *lse)
{
    AS_HALF(type, T, AS_WIDTH(s->width, T, attention_mma, s, q, k, v, o, lse));
}
