/* Attention and its gradient on matrix units, for bf16 and heads of up to 160 channels (a multiple of 8).
 *
 * Nothing of the size queries x keys is kept: a block walks over tiles of the other side and computes scores again where
 * they are needed (Dao, FlashAttention-2, arXiv 2307.08691). dk and dv are summed by the blocks of keys, dq by blocks of
 * queries: that takes seven products where five would do with atomic additions, but gives the same bits every time.
 *
 * P is the width of a head, rounded up to a multiple of 16; a row in shared memory is 8 elements longer, so that the
 * eight rows of a matrix lie in different banks. */
#include "backend/cuda/mma.cuh"

enum { WARPS = 4, THREADS = 32 * WARPS };

#define LOG2_E 1.4426950408889634f
#define LN_2 0.6931471805599453f

/* The sizes of tiles for a width P. */
template <int P> struct tiles {
    static constexpr int row = P + 8;
    static constexpr int groups = P <= 80 ? 2 : 1;          /* of 16 queries a warp has, forward */
    static constexpr int queries = 16 * WARPS * groups;     /* of a block, forward */
    static constexpr int keys = P <= 96 ? 64 : 32;          /* of a step */
    static constexpr int own_groups = P <= 64 ? 2 : 1;      /* of 16 rows a warp has, backward */
    static constexpr int own = 16 * WARPS * own_groups;     /* rows of a block, backward */
    static constexpr int met = P > 64 && P <= 96 ? 64 : 32; /* rows of a step, backward */
    static constexpr size_t forward_elements = (size_t)row * (queries + 2 * 2 * keys);
    static constexpr size_t backward_elements = (size_t)row * (2 * own + 2 * 2 * met);
};

/* One head of a tensor [batch,rows,heads*width]. */
template <class T> struct head_rows {
    T *start;
    int64_t step, rows;
    int width;
};

template <class T> DEVICE head_rows<T> head_of(const attention_shape &s, T *x, int64_t rows)
{
    head_rows<T> h;
    h.step = s.heads * s.width;
    h.start = x + (int64_t)blockIdx.z * rows * h.step + (int64_t)blockIdx.y * s.width;
    h.rows = rows;
    h.width = (int)s.width;
    return h;
}

/* Starts copying rows [first, first + R) into room; zeros behind the last row and the last channel. */
template <class T, int P, int R> DEVICE void copy_rows(const head_rows<const T> &h, int64_t first, T *room)
{
    constexpr int CHUNKS = P / 8;
    UNROLL
    for (int i = (int)threadIdx.x; i < R * CHUNKS; i += THREADS) {
        const int row = i / CHUNKS, c = i % CHUNKS * 8;
        const bool there = first + row < h.rows && c < h.width;
        const T *from = h.start + (there ? (first + row) * h.step + c : 0);
        copy_async(room + row * (P + 8) + c, from, there);
    }
}

/* Where lane i points for load_matrices: an A fragment of 16 rows from `row`, 16 columns from `column`. */
template <class T, int P> DEVICE const T *a_rows(const T *room, int row, int column)
{
    const int lane = (int)threadIdx.x % 32;
    return room + (row + lane % 16) * (P + 8) + column + lane / 16 * 8;
}

/* Two B fragments (16 deep, 8 wide each) of the matrix whose columns are the 16 rows from `row`. */
template <class T, int P> DEVICE const T *b_rows(const T *room, int row, int column)
{
    const int lane = (int)threadIdx.x % 32;
    return room + (row + lane / 16 * 8 + lane % 8) * (P + 8) + column + lane / 8 % 2 * 8;
}

/* Two B fragments of the matrix itself, 16 rows from `row`, 16 columns from `column`: transposed when loaded. */
template <class T, int P> DEVICE const T *b_columns(const T *room, int row, int column)
{
    const int lane = (int)threadIdx.x % 32;
    return room + (row + lane / 8 % 2 * 8 + lane % 8) * (P + 8) + column + lane / 16 * 8;
}

/* c[g] [16,N] += a rows^T for G groups of 16 rows of a from a_row on; rows [N,P]. */
template <class T, int P, int N, int G>
DEVICE void multiply_rows(float (&c)[G][N / 8][4], const T *a, int a_row, const T *rows)
{
    UNROLL
    for (int d = 0; d < P / 16; d++) {
        uint32_t left[G][4];
        UNROLL
        for (int g = 0; g < G; g++) load_matrices(left[g], a_rows<T, P>(a, a_row + 16 * g, 16 * d));
        UNROLL
        for (int j = 0; j < N / 16; j++) {
            uint32_t b[4];
            load_matrices(b, b_rows<T, P>(rows, 16 * j, 16 * d));
            UNROLL
            for (int g = 0; g < G; g++) {
                multiply_add<T>(c[g][2 * j], left[g], b[0], b[1]);
                multiply_add<T>(c[g][2 * j + 1], left[g], b[2], b[3]);
            }
        }
    }
}

/* c[g] [16,P] += p[g] [16,N] rows, p in f32 as multiply_rows left it, rounded to T here. */
template <class T, int P, int N, int G>
DEVICE void multiply_columns(float (&c)[G][P / 8][4], const float (&p)[G][N / 8][4], const T *rows)
{
    UNROLL
    for (int j = 0; j < N / 16; j++) {
        uint32_t left[G][4];
        UNROLL
        for (int g = 0; g < G; g++) {
            UNROLL
            for (int i = 0; i < 4; i++)
                left[g][i] = pack2<T>(p[g][2 * j + i / 2][i % 2 * 2], p[g][2 * j + i / 2][i % 2 * 2 + 1]);
        }
        UNROLL
        for (int d = 0; d < P / 16; d++) {
            uint32_t b[4];
            load_matrices_transposed(b, b_columns<T, P>(rows, 16 * j, 16 * d));
            UNROLL
            for (int g = 0; g < G; g++) {
                multiply_add<T>(c[g][2 * d], left[g], b[0], b[1]);
                multiply_add<T>(c[g][2 * d + 1], left[g], b[2], b[3]);
            }
        }
    }
}

/* Over the four lanes that share a row of C. */
DEVICE float quad_sum(float value)
{
    value += __shfl_xor_sync(0xffffffffu, value, 1);
    return value + __shfl_xor_sync(0xffffffffu, value, 2);
}
DEVICE float quad_most(float value)
{
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 1));
    return fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 2));
}

/* Stores factor * c [16,P] as rows first + 16 * ... of h, those that exist. */
template <class T, int P>
DEVICE void store_rows(const head_rows<T> &h, int64_t first, const float (*c)[4], const float factor[2])
{
    const int lane = (int)threadIdx.x % 32;
    UNROLL
    for (int half = 0; half < 2; half++) {
        const int64_t row = first + lane / 4 + 8 * half;
        if (row >= h.rows) continue;
        UNROLL
        for (int j = 0; j < P / 8; j++) {
            const int column = 8 * j + 2 * (lane % 4);
            if (column >= h.width) continue;
            *reinterpret_cast<uint32_t *>(h.start + row * h.step + column) =
                pack2<T>(c[j][2 * half] * factor[half], c[j][2 * half + 1] * factor[half]);
        }
    }
}

/* ---- forward ---- */

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
    constexpr int G = tiles<P>::groups, KEYS = tiles<P>::keys, QUERIES = tiles<P>::queries, ROW = tiles<P>::row;
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
                lse[(blockIdx.z * s.heads + blockIdx.y) * s.queries + query] =
                    (r[g].most[half] + log2f(total)) * LN_2;
        }
        store_rows<T, P>(head_of(s, o, s.queries), row, sum[g], factor);
    }
}

/* ---- gradient ---- */

/* Rows of a block and those that it meets, two tensors each, the second two in two stages. */
template <class T, int P> struct backward_room {
    T *own, *own_too, *met, *met_too;
};

template <class T, int P> DEVICE backward_room<T, P> room_of(unsigned char *memory)
{
    constexpr int ROW = tiles<P>::row, OWN = tiles<P>::own, MET = tiles<P>::met;
    backward_room<T, P> r;
    r.own = reinterpret_cast<T *>(memory);
    r.own_too = r.own + OWN * ROW;
    r.met = r.own_too + OWN * ROW;
    r.met_too = r.met + 2 * MET * ROW;
    return r;
}

/* dq of 64 queries: walks over keys. */
template <class T, int P>
__global__ void __launch_bounds__(THREADS) attention_dq_kernel(attention_shape s, attention_tensors t, T *dq)
{
    constexpr int ROW = tiles<P>::row, OWN = tiles<P>::own, MET = tiles<P>::met, G = tiles<P>::own_groups;
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

/* dk and dv of 64 keys: walks over queries, with scores transposed. Where keys are few, several blocks share them: each
 * takes a part of the queries, and leaves its sums in t.parts. */
template <class T, int P>
__global__ void __launch_bounds__(THREADS)
    attention_dkv_kernel(attention_shape s, attention_tensors t, T *dk, T *dv, int key_tiles)
{
    constexpr int ROW = tiles<P>::row, OWN = tiles<P>::own, MET = tiles<P>::met, G = tiles<P>::own_groups;
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
    const float scaled[2] = {s.scale, s.scale}, plain[2] = {1.0f, 1.0f};
    const int64_t count = s.batch * s.keys * s.heads * s.width;
    UNROLL
    for (int g = 0; g < G; g++) {
        const int64_t to = first + row + 16 * g;
        if (t.part_count > 1) {
            if (dk) keep_rows<P>(s, t.parts + 2 * part * count, to, dk_sum[g], s.scale);
            if (dv) keep_rows<P>(s, t.parts + (2 * part + 1) * count, to, dv_sum[g], 1.0f);
            continue;
        }
        if (dk) store_rows<T, P>(head_of(s, dk, s.keys), to, dk_sum[g], scaled);
        if (dv) store_rows<T, P>(head_of(s, dv, s.keys), to, dv_sum[g], plain);
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

static dim3 grid_of(const attention_shape *s, int64_t rows, int tile)
{
    return dim3((unsigned)((rows + tile - 1) / tile), (unsigned)s->heads, (unsigned)s->batch);
}

template <class T, int P> static size_t forward_bytes(void)
{
    return tiles<P>::forward_elements * sizeof(T);
}
template <class T, int P> static size_t backward_bytes(void)
{
    return tiles<P>::backward_elements * sizeof(T) + 2 * tiles<P>::met * sizeof(float);
}

template <class T, int P>
static void attention_mma(const attention_shape *s, const void *q, const void *k, const void *v, void *o, float *lse)
{
    LAUNCH((attention_mma_kernel<T, P>), grid_of(s, s->queries, tiles<P>::queries), THREADS, (forward_bytes<T, P>()),
           *s, static_cast<const T *>(q), static_cast<const T *>(k), static_cast<const T *>(v), static_cast<T *>(o),
           lse);
}

template <class T, int P> static void attention_mma_grad(const attention_shape *s, const attention_tensors *t)
{
    const size_t bytes = backward_bytes<T, P>();
    T *dq = static_cast<T *>(t->dq), *dk = static_cast<T *>(t->dk), *dv = static_cast<T *>(t->dv);
    if (dq) LAUNCH((attention_dq_kernel<T, P>), grid_of(s, s->queries, tiles<P>::own), THREADS, bytes, *s, *t, dq);
    if (!dk && !dv) return;
    const dim3 grid = grid_of(s, s->keys, tiles<P>::own);
    LAUNCH((attention_dkv_kernel<T, P>), dim3(grid.x * (unsigned)t->part_count, grid.y, grid.z), THREADS, bytes, *s, *t,
           dk, dv, (int)grid.x);
    if (t->part_count == 1) return;
    const int64_t count = s->batch * s->keys * s->heads * s->width;
    LAUNCH(add_parts_kernel<T>, blocks_for(count, THREADS), THREADS, 0, t->parts, (int64_t)t->part_count, count, dk, dv);
}

/* Enough blocks for every processor of the card, of at least four steps each. */
int attention_mma_parts(const attention_shape *s)
{
    const int64_t blocks = (s->keys + 63) / 64 * s->heads * s->batch, steps = (s->queries + 63) / 64;
    int64_t parts = 2 * gpu_processors() / blocks;
    if (parts > steps / 4) parts = steps / 4;
    return parts < 1 ? 1 : (int)parts;
}

/* Calls f<T,P> for the least P of those below that is enough. */
#define AS_WIDTH(width, T, f, ...)                                                                                     \
    if ((width) <= 32) f<T, 32>(__VA_ARGS__);                                                                          \
    else if ((width) <= 48) f<T, 48>(__VA_ARGS__);                                                                     \
    else if ((width) <= 64) f<T, 64>(__VA_ARGS__);                                                                     \
    else if ((width) <= 80) f<T, 80>(__VA_ARGS__);                                                                     \
    else if ((width) <= 128) f<T, 128>(__VA_ARGS__);                                                                   \
    else f<T, 160>(__VA_ARGS__)

template <class T, int P> static void count_bytes(bool gradient, size_t *bytes)
{
    *bytes = gradient ? backward_bytes<T, P>() : forward_bytes<T, P>();
}

bool attention_mma_serves(gpu_type type, const attention_shape *s, bool gradient)
{
    if (type != GPU_BF16 || s->width % 8 != 0 || s->width > 160) return false;
    size_t bytes = 0;
    AS_WIDTH(s->width, bf16, count_bytes, gradient, &bytes);
    return bytes <= gpu_shared_bytes();
}

void launch_attention_mma(gpu_type type, const attention_shape *s, const void *q, const void *k, const void *v, void *o,
                          float *lse)
{
    (void)type; /* bf16, as attention_mma_serves says */
    AS_WIDTH(s->width, bf16, attention_mma, s, q, k, v, o, lse);
}

void launch_attention_mma_grad(gpu_type type, const attention_shape *s, const attention_tensors *t)
{
    (void)type;
    AS_WIDTH(s->width, bf16, attention_mma_grad, s, t);
}
