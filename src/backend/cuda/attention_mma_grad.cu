/* The gradient of attention on matrix units: see attention_tiles.cuh. */
#include "backend/cuda/attention_tiles.cuh"

/* Rows of a block and those that it meets, two tensors each, the second two in two stages. */
template <class T, int P> struct backward_room {
    T *own, *own_too, *met, *met_too;
};

template <class T, int P> DEVICE backward_room<T, P> room_of(unsigned char *memory)
{
    constexpr int ROW = tiles<T, P>::row, OWN = tiles<T, P>::own, MET = tiles<T, P>::met;
    backward_room<T, P> r;
    r.own = reinterpret_cast<T *>(memory);
    r.own_too = r.own + OWN * ROW;
    r.met = r.own_too + OWN * ROW;
    r.met_too = r.met + 2 * MET * ROW;
    return r;
}

/* dq of a block's queries: walks over keys. */
template <class T, int P>
__global__ void __launch_bounds__(THREADS) attention_dq_kernel(attention_shape s, attention_tensors t, T *dq)
{
    constexpr int ROW = tiles<T, P>::row, OWN = tiles<T, P>::own, MET = tiles<T, P>::met, G = tiles<T, P>::own_groups;
    SHARED_MEMORY(memory);
    const backward_room<T, P> room = room_of<T, P>(memory);
    const int row = (int)threadIdx.x / 32 * 16 * G, lane = (int)threadIdx.x % 32;
    const int64_t first = (int64_t)blockIdx.x * OWN, statistics = (blockIdx.z * s.heads + blockIdx.y) * s.queries;
    const head_rows<const T> key_rows = head_of(s, static_cast<const T *>(t.k), s.keys);
    const head_rows<const T> value_rows = head_of(s, static_cast<const T *>(t.v), s.keys);
    const float scale = s.scale * LOG2_E;
    int64_t end = s.keys;
    if (s.causal && first + OWN < end) end = first + OWN;
    copy_rows<T, P, OWN>(head_of(s, static_cast<const T *>(t.q), s.queries), first, room.own);
    copy_rows<T, P, OWN>(head_of(s, static_cast<const T *>(t.dout), s.queries), first, room.own_too);
    copy_rows<T, P, MET>(key_rows, 0, room.met);
    copy_rows<T, P, MET>(value_rows, 0, room.met_too);
    copies_commit();
    float lse[2 * G], delta[2 * G], sum[G][P / 8][4] = {};
    UNROLL
    for (int half = 0; half < 2 * G; half++) {
        const int64_t query = first + row + lane / 4 + 8 * half;
        lse[half] = query < s.queries ? t.lse[statistics + query] * LOG2_E : INFINITY;
        delta[half] = query < s.queries ? t.delta[statistics + query] : 0.0f;
    }
    int stage = 0;
    for (int64_t at = 0; at < end; at += MET, stage ^= 1) {
        const T *keys = room.met + stage * MET * ROW, *values = room.met_too + stage * MET * ROW;
        if (at + MET < end) {
            copy_rows<T, P, MET>(key_rows, at + MET, room.met + (stage ^ 1) * MET * ROW);
            copy_rows<T, P, MET>(value_rows, at + MET, room.met_too + (stage ^ 1) * MET * ROW);
        }
        copies_commit();
        copies_wait<1>();
        __syncthreads();
        float score[G][MET / 8][4] = {}, dp[G][MET / 8][4] = {};
        multiply_rows<T, P, MET, G>(score, room.own, row, keys);
        multiply_rows<T, P, MET, G>(dp, room.own_too, row, values);
        const bool masked = at + MET > s.keys || s.causal;
        UNROLL
        for (int k = 0; k < G * MET / 8 * 4; k++) {
            const int g = k / (MET / 8 * 4), j = k / 4 % (MET / 8), i = k % 4;
            const int64_t key = at + 8 * j + 2 * (lane % 4) + i % 2;
            const int64_t query = first + row + 16 * g + lane / 4 + i / 2 * 8;
            const bool seen = !masked || (key < s.keys && !(s.causal && key > query));
            const float p = seen ? exp2_fast(score[g][j][i] * scale - lse[2 * g + i / 2]) : 0.0f;
            dp[g][j][i] = p * (dp[g][j][i] - delta[2 * g + i / 2]);
        }
        multiply_columns<T, P, MET, G>(sum, dp, keys);
        __syncthreads();
    }
    const float factor[2] = {s.scale, s.scale};
    UNROLL
    for (int g = 0; g < G; g++) store_rows<T, P>(head_of(s, dq, s.queries), first + row + 16 * g, sum[g], factor);
}

/* Stores c [16,P] in f32, as rows of a tensor [rows,heads*width] of this sample. */
template <int P>
DEVICE void keep_rows(const attention_shape &s, float *to, int64_t first, const float (*c)[4], float factor)
{
    const int lane = (int)threadIdx.x % 32;
    UNROLL
    for (int half = 0; half < 2; half++) {
        const int64_t row = first + lane / 4 + 8 * half;
        if (row >= s.keys) continue;
        UNROLL
        for (int j = 0; j < P / 8; j++) {
            const int column = 8 * j + 2 * (lane % 4);
            if (column >= s.width) continue;
            float *at = to + ((blockIdx.z * s.keys + row) * s.heads + blockIdx.y) * s.width + column;
            at[0] = c[j][2 * half] * factor;
            at[1] = c[j][2 * half + 1] * factor;
        }
    }
}

/* 16 keys' gradient where it belongs: in the result, or in place `part` of t.parts. */
template <class T, int P>
DEVICE void put_keys(const attention_shape &s, const attention_tensors &t, T *to, int64_t part, int64_t first,
                     const float (*c)[4], float factor)
{
    const float both[2] = {factor, factor};
    if (t.part_count > 1)
        keep_rows<P>(s, t.parts + part * s.batch * s.keys * s.heads * s.width, first, c, factor);
    else
        store_rows<T, P>(head_of(s, to, s.keys), first, c, both);
}

/* dk and dv of a block's keys: walks over queries, with scores transposed. Where keys are few, several blocks share
 * them: each takes a part of the queries, and leaves its sums in t.parts. */
template <class T, int P>
__global__ void __launch_bounds__(THREADS)
    attention_dkv_kernel(attention_shape s, attention_tensors t, T *dk, T *dv, int key_tiles)
{
    constexpr int ROW = tiles<T, P>::row, OWN = tiles<T, P>::own, MET = tiles<T, P>::met, G = tiles<T, P>::own_groups;
    SHARED_MEMORY(memory);
    const backward_room<T, P> room = room_of<T, P>(memory);
    float *lse = reinterpret_cast<float *>(room.met_too + 2 * MET * ROW), *delta = lse + MET;
    const int row = (int)threadIdx.x / 32 * 16 * G, lane = (int)threadIdx.x % 32;
    const float scale = s.scale * LOG2_E;
    const int64_t first = (int64_t)(blockIdx.x % (unsigned)key_tiles) * OWN, part = blockIdx.x / (unsigned)key_tiles;
    const int64_t statistics = (blockIdx.z * s.heads + blockIdx.y) * s.queries;
    const head_rows<const T> query_rows = head_of(s, static_cast<const T *>(t.q), s.queries);
    const head_rows<const T> dout_rows = head_of(s, static_cast<const T *>(t.dout), s.queries);
    const int64_t steps = (s.queries + MET - 1) / MET, end = steps * (part + 1) / t.part_count * MET;
    int64_t begin = steps * part / t.part_count * MET;
    if (s.causal && begin < first / MET * MET) begin = first / MET * MET; /* earlier queries don't see these keys */
    copy_rows<T, P, OWN>(head_of(s, static_cast<const T *>(t.k), s.keys), first, room.own);
    copy_rows<T, P, OWN>(head_of(s, static_cast<const T *>(t.v), s.keys), first, room.own_too);
    copy_rows<T, P, MET>(query_rows, begin, room.met);
    copy_rows<T, P, MET>(dout_rows, begin, room.met_too);
    copies_commit();
    float dk_sum[G][P / 8][4] = {}, dv_sum[G][P / 8][4] = {};
    int stage = 0;
    for (int64_t at = begin; at < end; at += MET, stage ^= 1) {
        const T *queries = room.met + stage * MET * ROW, *douts = room.met_too + stage * MET * ROW;
        if (at + MET < end) {
            copy_rows<T, P, MET>(query_rows, at + MET, room.met + (stage ^ 1) * MET * ROW);
            copy_rows<T, P, MET>(dout_rows, at + MET, room.met_too + (stage ^ 1) * MET * ROW);
        }
        copies_commit();
        for (int i = (int)threadIdx.x; i < MET; i += THREADS) {
            const bool there = at + i < s.queries;
            lse[i] = there ? t.lse[statistics + at + i] * LOG2_E : INFINITY;
            delta[i] = there ? t.delta[statistics + at + i] : 0.0f;
        }
        copies_wait<1>();
        __syncthreads();
        float score[G][MET / 8][4] = {}, dp[G][MET / 8][4] = {};
        multiply_rows<T, P, MET, G>(score, room.own, row, queries);
        multiply_rows<T, P, MET, G>(dp, room.own_too, row, douts);
        UNROLL
        for (int k = 0; k < G * MET / 8 * 4; k++) { /* keys that there aren't are never stored */
            const int g = k / (MET / 8 * 4), j = k / 4 % (MET / 8), i = k % 4, column = 8 * j + 2 * (lane % 4) + i % 2;
            const bool seen = !s.causal || first + row + 16 * g + lane / 4 + i / 2 * 8 <= at + column;
            const float p = seen ? exp2_fast(score[g][j][i] * scale - lse[column]) : 0.0f;
            score[g][j][i] = p;
            dp[g][j][i] = p * (dp[g][j][i] - delta[column]);
        }
        if (dv) multiply_columns<T, P, MET, G>(dv_sum, score, douts);
        if (dk) multiply_columns<T, P, MET, G>(dk_sum, dp, queries);
        __syncthreads();
    }
    UNROLL
    for (int g = 0; g < G; g++) {
        const int64_t to = first + row + 16 * g;
        if (dk) put_keys<T, P>(s, t, dk, 2 * part, to, dk_sum[g], s.scale);
        if (dv) put_keys<T, P>(s, t, dv, 2 * part + 1, to, dv_sum[g], 1.0f);
    }
}

/* dk and dv from their parts, in the order of these. */
template <class T>
__global__ void __launch_bounds__(THREADS)
    add_parts_kernel(const float *parts, int64_t part_count, int64_t count, T *dk, T *dv)
{
    for (int64_t i = first_index(); i < count; i += index_step()) {
        float k = 0, v = 0;
        for (int64_t part = 0; part < part_count; part++) {
            if (dk) k += parts[2 * part * count + i];
            if (dv) v += parts[(2 * part + 1) * count + i];
        }
        if (dk) dk[i] = from_float<T>(k);
        if (dv) dv[i] = from_float<T>(v);
    }
}

/* ---- launching ---- */

template <class T, int P> static void attention_mma_grad(const attention_shape *s, const attention_tensors *t)
{
    const size_t bytes = backward_bytes<T, P>();
    T *dq = static_cast<T *>(t->dq), *dk = static_cast<T *>(t->dk), *dv = static_cast<T *>(t->dv);
    if (dq) LAUNCH((attention_dq_kernel<T, P>), grid_of(s, s->queries, tiles<T, P>::own), THREADS, bytes, *s, *t, dq);
    if (!dk && !dv) return;
    const dim3 grid = grid_of(s, s->keys, tiles<T, P>::own);
    LAUNCH((attention_dkv_kernel<T, P>), dim3(grid.x * (unsigned)t->part_count, grid.y, grid.z), THREADS, bytes, *s, *t,
           dk, dv, (int)grid.x);
    if (t->part_count == 1) return;
    const int64_t count = s->batch * s->keys * s->heads * s->width;
    LAUNCH(add_parts_kernel<T>, blocks_for(count, THREADS), THREADS, 0, t->parts, (int64_t)t->part_count, count, dk,
           dv);
}

/* Enough blocks for every processor of the card, of at least four steps each. */
int attention_mma_parts(const attention_shape *s)
{
    const int64_t blocks = (s->keys + 63) / 64 * s->heads * s->batch, steps = (s->queries + 63) / 64;
    int64_t parts = 2 * gpu_processors() / blocks;
    if (parts > steps / 4) parts = steps / 4;
    return parts < 1 ? 1 : (int)parts;
}

void launch_attention_mma_grad(gpu_type type, const attention_shape *s, const attention_tensors *t)
{
    AS_HALF(type, T, AS_WIDTH(s->width, T, attention_mma_grad, s, t));
}
