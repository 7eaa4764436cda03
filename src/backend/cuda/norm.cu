/* group_norm and layer_norm with their gradients.
 *
 * A group's statistics take two kernels. The first cuts the positions of a sample into chunks; a block reads its chunk
 * whole, row after row, and leaves each group's sums. The second adds the chunks' sums up, in their order, and writes
 * the result. Squares are summed of x - shift, shift being one value of the group: where the values lie far from zero,
 * the difference of two large sums would leave nothing of their variance. */
#include "backend/cuda/device.cuh"

enum { THREADS = 256, MOST_CHUNKS = 128, CHUNK_ELEMENTS = 4096, KEPT = 3, ROW_WARPS = 4, AHEAD = 4 };

/* ---- chunks ---- */

static int64_t chunks_of(int64_t positions, int64_t channels)
{
    int64_t chunks = positions * channels / CHUNK_ELEMENTS;
    if (chunks > MOST_CHUNKS) chunks = MOST_CHUNKS;
    if (chunks > positions) chunks = positions;
    return chunks < 1 ? 1 : chunks;
}

size_t group_norm_scratch(int64_t samples, int64_t positions, int64_t channels, int64_t groups)
{
    return (size_t)(samples * chunks_of(positions, channels) * groups * KEPT) * sizeof(float);
}

/* What a thread does of a chunk: the pack of channels `column` at every `rows`-th row from `row` on. Where there are
 * more columns than threads it takes several of them, one after the other. */
struct share {
    int64_t first, end; /* the chunk's positions */
    int columns, rows, row, column;
};

template <int N> DEVICE share share_of(const group_norm_shape &s)
{
    share out;
    const int64_t chunks = gridDim.x, chunk = blockIdx.x;
    out.first = s.positions * chunk / chunks;
    out.end = s.positions * (chunk + 1) / chunks;
    out.columns = (int)(s.channels / N);
    out.rows = out.columns < THREADS ? THREADS / out.columns : 1;
    out.row = (int)threadIdx.x / out.columns;
    out.column = (int)threadIdx.x % out.columns;
    if (out.rows == 1) {
        out.row = 0;
        out.column = (int)threadIdx.x;
    }
    return out;
}

template <int N> static size_t shared_of(const group_norm_shape *s)
{
    const int64_t columns = s->channels / N, rows = columns < THREADS ? THREADS / columns : 1;
    return (size_t)(2 * rows * s->channels) * sizeof(float);
}

/* The sums of a block's two values a channel and row of threads, [rows][channels] each, as two values a group. */
DEVICE void keep_group_sums(const float *first, const float *second, const group_norm_shape &s, int rows, float *kept)
{
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    const int width = (int)(s.channels / s.groups), entries = rows * width;
    for (int g = warp; g < s.groups; g += THREADS / 32) {
        float a = 0, b = 0;
        for (int i = lane; i < entries; i += 32) {
            const int64_t at = (int64_t)(i / width) * s.channels + g * width + i % width;
            a += first[at];
            b += second[at];
        }
        a = warp_sum(a);
        b = warp_sum(b);
        if (lane > 0) continue;
        kept[g * KEPT] = a;
        kept[g * KEPT + 1] = b;
    }
}

DEVICE float *kept_of(float *scratch, const group_norm_shape &s, int64_t sample, int64_t chunk)
{
    return scratch + (sample * gridDim.x + chunk) * s.groups * KEPT;
}

/* The two values of each group over all chunks of this block's sample, as of_group[2g], of_group[2g + 1]: eight threads
 * have a group. */
DEVICE void add_chunks(float *scratch, const group_norm_shape &s, int64_t sample, float *of_group)
{
    const int lane = (int)threadIdx.x % 8;
    for (int first = 0; first < s.groups; first += THREADS / 8) {
        const int g = first + (int)threadIdx.x / 8;
        float a = 0, b = 0;
        for (unsigned chunk = (unsigned)lane; g < s.groups && chunk < gridDim.x; chunk += 8) {
            const float *kept = kept_of(scratch, s, sample, chunk) + g * KEPT;
            a += kept[0];
            b += kept[1];
        }
        UNROLL
        for (unsigned i = 4; i > 0; i /= 2) {
            a += __shfl_xor_sync(0xffffffffu, a, i);
            b += __shfl_xor_sync(0xffffffffu, b, i);
        }
        if (lane == 0 && g < s.groups) {
            of_group[2 * g] = a;
            of_group[2 * g + 1] = b;
        }
    }
    __syncthreads();
}

/* The pack of `column` i of this thread's rows after position p; that of p itself behind the chunk's end. Several are
 * loaded before the first is used. */
template <class T, int N>
DEVICE pack<T, N> load_ahead(const T *x, const group_norm_shape &s, const share &mine, int64_t p, int i, int column)
{
    const int64_t at = p + i * mine.rows < mine.end ? p + i * mine.rows : p;
    return reinterpret_cast<const pack<T, N> *>(x + at * s.channels)[column];
}

/* ---- forward ---- */

template <class T, int N>
__global__ void __launch_bounds__(THREADS) group_moments_kernel(group_norm_shape s, const T *x, float *scratch)
{
    SHARED_MEMORY(memory);
    const share mine = share_of<N>(s);
    const int64_t sample = blockIdx.y;
    float *sums = reinterpret_cast<float *>(memory), *squares = sums + (int64_t)mine.rows * s.channels;
    const T *from = x + sample * s.positions * s.channels;
    const int width = (int)(s.channels / s.groups);
    for (int column = mine.column; column < mine.columns && mine.row < mine.rows; column += THREADS) {
        float shift[N], sum[N] = {}, square[N] = {};
        UNROLL
        for (int k = 0; k < N; k++) shift[k] = to_float(from[(column * N + k) / width * width]);
        for (int64_t p = mine.first + mine.row; p < mine.end; p += AHEAD * mine.rows) {
            pack<T, N> value[AHEAD];
            UNROLL
            for (int i = 0; i < AHEAD; i++) value[i] = load_ahead<T, N>(from, s, mine, p, i, column);
            UNROLL
            for (int i = 0; i < AHEAD; i++) {
                if (p + i * mine.rows >= mine.end) break;
                UNROLL
                for (int k = 0; k < N; k++) {
                    const float d = to_float(value[i].at[k]) - shift[k];
                    sum[k] += d;
                    square[k] += d * d;
                }
            }
        }
        UNROLL
        for (int k = 0; k < N; k++) {
            sums[(int64_t)mine.row * s.channels + column * N + k] = sum[k];
            squares[(int64_t)mine.row * s.channels + column * N + k] = square[k];
        }
    }
    __syncthreads();
    float *kept = kept_of(scratch, s, sample, blockIdx.x);
    keep_group_sums(sums, squares, s, mine.rows, kept);
    if (blockIdx.x == 0)
        for (int g = (int)threadIdx.x; g < s.groups; g += THREADS) kept[g * KEPT + 2] = to_float(from[g * width]);
}

/* Mean and 1 / standard deviation of all groups into shared memory; and to `statistics` by the first chunk's block. */
DEVICE void finish_moments(float *scratch, const group_norm_shape &s, int64_t sample, float *of_group,
                           float *statistics)
{
    const float count = (float)(s.positions * (s.channels / s.groups));
    add_chunks(scratch, s, sample, of_group);
    for (int g = (int)threadIdx.x; g < s.groups; g += THREADS) {
        const float mean = of_group[2 * g] / count;
        const float variance = fmaxf(of_group[2 * g + 1] / count - mean * mean, 0.0f);
        of_group[2 * g] = kept_of(scratch, s, sample, 0)[g * KEPT + 2] + mean;
        of_group[2 * g + 1] = 1.0f / sqrtf(variance + s.eps);
        if (!statistics || blockIdx.x > 0) continue;
        statistics[(sample * s.groups + g) * 2] = of_group[2 * g];
        statistics[(sample * s.groups + g) * 2 + 1] = of_group[2 * g + 1];
    }
    __syncthreads();
}

template <class T, int N>
__global__ void __launch_bounds__(THREADS) group_norm_kernel(group_norm_shape s, const T *x, const T *gamma,
                                                             const T *beta, T *y, float *statistics, float *scratch)
{
    SHARED_MEMORY(memory);
    float *of_group = reinterpret_cast<float *>(memory);
    const share mine = share_of<N>(s);
    const int64_t sample = blockIdx.y, offset = sample * s.positions * s.channels;
    const int width = (int)(s.channels / s.groups);
    finish_moments(scratch, s, sample, of_group, statistics);
    for (int column = mine.column; column < mine.columns && mine.row < mine.rows; column += THREADS) {
        float mean[N], factor[N], constant[N];
        UNROLL
        for (int k = 0; k < N; k++) {
            const int c = column * N + k, g = c / width;
            mean[k] = of_group[2 * g];
            factor[k] = to_float(gamma[c]) * of_group[2 * g + 1];
            constant[k] = to_float(beta[c]);
        }
        for (int64_t p = mine.first + mine.row; p < mine.end; p += AHEAD * mine.rows) {
            pack<T, N> value[AHEAD];
            UNROLL
            for (int i = 0; i < AHEAD; i++) value[i] = load_ahead<T, N>(x + offset, s, mine, p, i, column);
            UNROLL
            for (int i = 0; i < AHEAD; i++) {
                if (p + i * mine.rows >= mine.end) break;
                pack<T, N> out;
                UNROLL
                for (int k = 0; k < N; k++) {
                    const float n = (to_float(value[i].at[k]) - mean[k]) * factor[k] + constant[k];
                    out.at[k] = from_float<T>(s.silu ? n * logistic(n) : n);
                }
                reinterpret_cast<pack<T, N> *>(y + offset + (p + i * mine.rows) * s.channels)[column] = out;
            }
        }
    }
}

/* ---- gradient ---- */

/* What the gradient needs of N channels, kept in registers over a chunk's rows. */
template <class T, int N> struct channel_facts {
    float mean[N], rstd[N], gamma[N], beta[N];
};

template <class T, int N>
DEVICE channel_facts<T, N> facts_of(const group_norm_shape &s, int64_t sample, int column, const T *gamma,
                                    const T *beta, const float *statistics)
{
    channel_facts<T, N> f;
    const int width = (int)(s.channels / s.groups);
    UNROLL
    for (int k = 0; k < N; k++) {
        const int c = column * N + k;
        const float *moments = statistics + (sample * s.groups + c / width) * 2;
        f.mean[k] = moments[0];
        f.rstd[k] = moments[1];
        f.gamma[k] = to_float(gamma[c]);
        f.beta[k] = to_float(beta[c]);
    }
    return f;
}

/* z and the gradient with respect to it of one element of channel k. */
template <class T, int N>
DEVICE float gradient_of_z(const channel_facts<T, N> &f, int k, bool silu, float dy, float x, float *z)
{
    *z = (x - f.mean[k]) * f.rstd[k];
    return (silu ? dy * silu_derivative(f.gamma[k] * *z + f.beta[k]) : dy) * f.gamma[k];
}

enum { GRADIENT_AHEAD = 2 };

template <class T, int N>
__global__ void __launch_bounds__(THREADS)
    group_gradient_sums_kernel(group_norm_shape s, const T *dy, const T *x, const T *gamma, const T *beta,
                               const float *statistics, float *scratch)
{
    SHARED_MEMORY(memory);
    const share mine = share_of<N>(s);
    const int64_t sample = blockIdx.y, offset = sample * s.positions * s.channels;
    float *sums = reinterpret_cast<float *>(memory), *products = sums + (int64_t)mine.rows * s.channels;
    for (int column = mine.column; column < mine.columns && mine.row < mine.rows; column += THREADS) {
        const channel_facts<T, N> f = facts_of<T, N>(s, sample, column, gamma, beta, statistics);
        float sum[N] = {}, product[N] = {};
        for (int64_t p = mine.first + mine.row; p < mine.end; p += GRADIENT_AHEAD * mine.rows) {
            pack<T, N> value[GRADIENT_AHEAD], gradient[GRADIENT_AHEAD];
            UNROLL
            for (int i = 0; i < GRADIENT_AHEAD; i++) {
                value[i] = load_ahead<T, N>(x + offset, s, mine, p, i, column);
                gradient[i] = load_ahead<T, N>(dy + offset, s, mine, p, i, column);
            }
            UNROLL
            for (int i = 0; i < GRADIENT_AHEAD; i++) {
                if (p + i * mine.rows >= mine.end) break;
                UNROLL
                for (int k = 0; k < N; k++) {
                    float z;
                    const float dz =
                        gradient_of_z<T, N>(f, k, s.silu, to_float(gradient[i].at[k]), to_float(value[i].at[k]), &z);
                    sum[k] += dz;
                    product[k] += dz * z;
                }
            }
        }
        UNROLL
        for (int k = 0; k < N; k++) {
            sums[(int64_t)mine.row * s.channels + column * N + k] = sum[k];
            products[(int64_t)mine.row * s.channels + column * N + k] = product[k];
        }
    }
    __syncthreads();
    keep_group_sums(sums, products, s, mine.rows, kept_of(scratch, s, sample, blockIdx.x));
}

template <class T, int N>
__global__ void __launch_bounds__(THREADS)
    group_norm_dx_kernel(group_norm_shape s, const T *dy, const T *x, const T *gamma, const T *beta,
                         const float *statistics, const T *add, T *dx, float *scratch)
{
    SHARED_MEMORY(memory);
    float *of_group = reinterpret_cast<float *>(memory);
    const share mine = share_of<N>(s);
    const int64_t sample = blockIdx.y, offset = sample * s.positions * s.channels;
    const int width = (int)(s.channels / s.groups);
    const float share_of_one = 1.0f / (float)(s.positions * width);
    add_chunks(scratch, s, sample, of_group);
    for (int column = mine.column; column < mine.columns && mine.row < mine.rows; column += THREADS) {
        const channel_facts<T, N> f = facts_of<T, N>(s, sample, column, gamma, beta, statistics);
        for (int64_t p = mine.first + mine.row; p < mine.end; p += mine.rows) {
            const int64_t at = offset + p * s.channels;
            const pack<T, N> value = reinterpret_cast<const pack<T, N> *>(x + at)[column];
            const pack<T, N> gradient = reinterpret_cast<const pack<T, N> *>(dy + at)[column];
            pack<T, N> more = {}, out;
            if (add) more = reinterpret_cast<const pack<T, N> *>(add + at)[column];
            UNROLL
            for (int k = 0; k < N; k++) {
                const float *average = of_group + 2 * ((column * N + k) / width);
                float z;
                const float dz = gradient_of_z<T, N>(f, k, s.silu, to_float(gradient.at[k]), to_float(value.at[k]), &z);
                const float d = f.rstd[k] * (dz - (average[0] + z * average[1]) * share_of_one);
                out.at[k] = from_float<T>(add ? d + to_float(more.at[k]) : d);
            }
            reinterpret_cast<pack<T, N> *>(dx + at)[column] = out;
        }
    }
}

/* ---- launching ---- */

template <class T, int N>
static void group_norm(const group_norm_shape *s, const void *x, const void *gamma, const void *beta, void *y,
                       float *statistics, float *scratch)
{
    const dim3 grid((unsigned)chunks_of(s->positions, s->channels), (unsigned)s->samples);
    const T *from = static_cast<const T *>(x);
    LAUNCH((group_moments_kernel<T, N>), grid, THREADS, shared_of<N>(s), *s, from, scratch);
    LAUNCH((group_norm_kernel<T, N>), grid, THREADS, (size_t)(2 * s->groups) * sizeof(float), *s, from,
           static_cast<const T *>(gamma), static_cast<const T *>(beta), static_cast<T *>(y), statistics, scratch);
}

template <class T, int N>
static void group_norm_dx(const group_norm_shape *s, const void *dy, const void *x, const void *gamma, const void *beta,
                          const float *statistics, const void *add, void *dx, float *scratch)
{
    const dim3 grid((unsigned)chunks_of(s->positions, s->channels), (unsigned)s->samples);
    const T *gradient = static_cast<const T *>(dy), *from = static_cast<const T *>(x);
    const T *g = static_cast<const T *>(gamma), *b = static_cast<const T *>(beta);
    LAUNCH((group_gradient_sums_kernel<T, N>), grid, THREADS, shared_of<N>(s), *s, gradient, from, g, b, statistics,
           scratch);
    LAUNCH((group_norm_dx_kernel<T, N>), grid, THREADS, (size_t)(2 * s->groups) * sizeof(float), *s, gradient, from, g,
           b, statistics, static_cast<const T *>(add), static_cast<T *>(dx), scratch);
}

void launch_group_norm(gpu_type type, const group_norm_shape *s, const void *x, const void *gamma, const void *beta,
                       void *y, float *statistics, float *scratch)
{
    AS_PACKS(type, s->channels, group_norm, s, x, gamma, beta, y, statistics, scratch);
}

void launch_group_norm_dx(gpu_type type, const group_norm_shape *s, const void *dy, const void *x, const void *gamma,
                          const void *beta, const float *statistics, const void *add, void *dx, float *scratch)
{
    AS_PACKS(type, s->channels, group_norm_dx, s, dy, x, gamma, beta, statistics, add, dx, scratch);
}

/* ---- layer norm: a warp has a row ---- */

template <class T, int N>
__global__ void __launch_bounds__(32 * ROW_WARPS)
    layer_norm_kernel(const T *x, const T *gamma, const T *beta, T *y, float *statistics, int64_t rows, int columns,
                      float eps)
{
    const int64_t row = (int64_t)blockIdx.x * ROW_WARPS + threadIdx.x / 32;
    const int lane = (int)threadIdx.x % 32;
    if (row >= rows) return;
    const float count = (float)(columns * N);
    const pack<T, N> *from = reinterpret_cast<const pack<T, N> *>(x) + row * columns;
    pack<T, N> *to = reinterpret_cast<pack<T, N> *>(y) + row * columns;
    float sum = 0, squares = 0;
    for (int i = lane; i < columns; i += 32) {
        const pack<T, N> value = from[i];
        UNROLL
        for (int k = 0; k < N; k++) sum += to_float(value.at[k]);
    }
    const float mean = warp_sum(sum) / count;
    for (int i = lane; i < columns; i += 32) {
        const pack<T, N> value = from[i];
        UNROLL
        for (int k = 0; k < N; k++) {
            const float d = to_float(value.at[k]) - mean;
            squares += d * d;
        }
    }
    const float rstd = 1.0f / sqrtf(warp_sum(squares) / count + eps);
    for (int i = lane; i < columns; i += 32) {
        const pack<T, N> value = from[i], g = reinterpret_cast<const pack<T, N> *>(gamma)[i];
        const pack<T, N> b = reinterpret_cast<const pack<T, N> *>(beta)[i];
        pack<T, N> out;
        UNROLL
        for (int k = 0; k < N; k++)
            out.at[k] = from_float<T>((to_float(value.at[k]) - mean) * rstd * to_float(g.at[k]) + to_float(b.at[k]));
        to[i] = out;
    }
    if (!statistics || lane > 0) return;
    statistics[2 * row] = mean;
    statistics[2 * row + 1] = rstd;
}

template <class T, int N>
__global__ void __launch_bounds__(32 * ROW_WARPS)
    layer_norm_dx_kernel(const T *dy, const T *x, const T *gamma, const float *statistics, const T *add, T *dx,
                         int64_t rows, int columns)
{
    const int64_t row = (int64_t)blockIdx.x * ROW_WARPS + threadIdx.x / 32;
    const int lane = (int)threadIdx.x % 32;
    if (row >= rows) return;
    const float count = (float)(columns * N), mean = statistics[2 * row], rstd = statistics[2 * row + 1];
    const pack<T, N> *from = reinterpret_cast<const pack<T, N> *>(x) + row * columns;
    const pack<T, N> *gradient = reinterpret_cast<const pack<T, N> *>(dy) + row * columns;
    float sum = 0, product = 0;
    for (int i = lane; i < columns; i += 32) {
        const pack<T, N> value = from[i], d = gradient[i], g = reinterpret_cast<const pack<T, N> *>(gamma)[i];
        UNROLL
        for (int k = 0; k < N; k++) {
            const float dz = to_float(d.at[k]) * to_float(g.at[k]);
            sum += dz;
            product += dz * ((to_float(value.at[k]) - mean) * rstd);
        }
    }
    sum = warp_sum(sum) / count;
    product = warp_sum(product) / count;
    for (int i = lane; i < columns; i += 32) {
        const pack<T, N> value = from[i], d = gradient[i], g = reinterpret_cast<const pack<T, N> *>(gamma)[i];
        pack<T, N> more = {}, out;
        if (add) more = (reinterpret_cast<const pack<T, N> *>(add) + row * columns)[i];
        UNROLL
        for (int k = 0; k < N; k++) {
            const float z = (to_float(value.at[k]) - mean) * rstd;
            const float result = rstd * (to_float(d.at[k]) * to_float(g.at[k]) - sum - z * product);
            out.at[k] = from_float<T>(add ? result + to_float(more.at[k]) : result);
        }
        (reinterpret_cast<pack<T, N> *>(dx) + row * columns)[i] = out;
    }
}

template <class T, int N>
static void layer_norm(const void *x, const void *gamma, const void *beta, void *y, float *statistics, int64_t rows,
                       int64_t channels, float eps)
{
    LAUNCH((layer_norm_kernel<T, N>), (unsigned)((rows + ROW_WARPS - 1) / ROW_WARPS), 32 * ROW_WARPS, 0,
           static_cast<const T *>(x), static_cast<const T *>(gamma), static_cast<const T *>(beta), static_cast<T *>(y),
           statistics, rows, (int)(channels / N), eps);
}

template <class T, int N>
static void layer_norm_dx(const void *dy, const void *x, const void *gamma, const float *statistics, const void *add,
                          void *dx, int64_t rows, int64_t channels)
{
    LAUNCH((layer_norm_dx_kernel<T, N>), (unsigned)((rows + ROW_WARPS - 1) / ROW_WARPS), 32 * ROW_WARPS, 0,
           static_cast<const T *>(dy), static_cast<const T *>(x), static_cast<const T *>(gamma), statistics,
           static_cast<const T *>(add), static_cast<T *>(dx), rows, (int)(channels / N));
}

void launch_layer_norm(gpu_type type, const void *x, const void *gamma, const void *beta, void *y, float *statistics,
                       int64_t rows, int64_t channels, float eps)
{
    AS_PACKS(type, channels, layer_norm, x, gamma, beta, y, statistics, rows, channels, eps);
}

void launch_layer_norm_dx(gpu_type type, const void *dy, const void *x, const void *gamma, const float *statistics,
                          const void *add, void *dx, int64_t rows, int64_t channels)
{
    AS_PACKS(type, channels, layer_norm_dx, dy, x, gamma, statistics, add, dx, rows, channels);
}
