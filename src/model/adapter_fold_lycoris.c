/* Forms of LyCORIS, and of kohya's networks.oft, that need computing before a kind can have them. */
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "model/adapter_fold.h"

/* ---- OFT ---- */

/* An OFT's blocks [count, side, side]: R = (1 + Q) (1 - Q)^-1 of each, Q = q - q^T. */
typedef struct blocks {
    size_t count, side;
    const float *q;
    double shrink;        /* times Q: where all of it is larger than the constraint, it is made that large */
    const float *rescale; /* [count side] or NULL */
    float *out;           /* [count side, count side], of zeros */
} blocks;

/* The columns of a [n, 2 n] from n on become (its columns before n)^-1 times themselves: Gauss-Jordan, with pivots. A
 * skew matrix beside 1 is never singular. */
static void solve(double *a, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        size_t pivot = k;
        for (size_t i = k + 1; i < n; i++)
            if (fabs(a[i * 2 * n + k]) > fabs(a[pivot * 2 * n + k])) pivot = i;
        for (size_t j = k; j < 2 * n && pivot != k; j++) {
            const double kept = a[k * 2 * n + j];
            a[k * 2 * n + j] = a[pivot * 2 * n + j];
            a[pivot * 2 * n + j] = kept;
        }
        double *of_pivot = a + k * 2 * n;
        const double factor = 1 / of_pivot[k];
        for (size_t j = k; j < 2 * n; j++) of_pivot[j] *= factor;
        for (size_t i = 0; i < n; i++) {
            double *row = a + i * 2 * n;
            const double times = row[k];
            if (i == k || times == 0) continue;
            for (size_t j = k; j < 2 * n; j++) row[j] -= times * of_pivot[j];
        }
    }
}

/* Of block k: what is added of the layer's output, R^T - 1 of its rows (scaled by `rescale`, if there is one). False:
 * out of memory. */
static bool turn(const blocks *b, size_t k)
{
    const size_t n = b->side, width = b->count * n;
    const float *q = b->q + k * n * n;
    double *a = mem_calloc(2 * n * n, sizeof *a);
    if (!a) return false;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            const double skew = b->shrink * ((double)q[i * n + j] - (double)q[j * n + i]);
            a[i * 2 * n + j] = (i == j) - skew;
            a[i * 2 * n + n + j] = (i == j) + skew;
        }
    solve(a, n);
    for (size_t m = 0; m < n; m++) {
        const double scale = b->rescale ? (double)b->rescale[k * n + m] : 1;
        for (size_t i = 0; i < n; i++) {
            const double turned = scale * a[i * 2 * n + n + m] - (m == i);
            b->out[(k * n + m) * width + k * n + i] = (float)turned;
        }
    }
    mem_free(a);
    return true;
}

static bool turn_all(const blocks *b)
{
    int failed = 0;
#pragma omp parallel for num_threads(cpu_threads()) reduction(| : failed) schedule(dynamic)
    for (size_t k = 0; k < b->count; k++) failed |= !turn(b, k);
    return !failed;
}

/* By how much Q shrinks. An alpha is the constraint, over the layer's outputs, as kohya and LyCORIS have it; 0, or
 * none: there isn't any. */
static leco_status find_shrink(const folding *f, const safetensors_entry *alpha, blocks *b)
{
    double value = 0, sum = 0;
    b->shrink = 1;
    if (alpha && (!safetensors_number(alpha, &value) || !isfinite(value)))
        return fold_wrong(f, alpha, "a finite number");
    for (size_t k = 0; k < b->count; k++)
        for (size_t i = 0; i < b->side; i++)
            for (size_t j = 0; j < i; j++) {
                const float *q = b->q + k * b->side * b->side;
                const double skew = (double)q[i * b->side + j] - (double)q[j * b->side + i];
                sum += 2 * skew * skew;
            }
    const double most = value * (double)(b->count * b->side);
    if (most > 0 && sqrt(sum) > most) b->shrink = most / sqrt(sum);
    return LECO_OK;
}

static leco_status turn_blocks(folding *f, const safetensors_entry *e, size_t stem, blocks *b)
{
    const int64_t width = e->shape[0] * e->shape[1], shape[] = {width, width};
    float *out;
    LECO_TRY(find_shrink(f, fold_beside(f, e->name, stem, ".alpha"), b));
    LECO_TRY(fold_make_room(f, e, shape, 2, &out));
    memset(out, 0, (size_t)(width * width) * sizeof *out);
    b->out = out;
    if (!turn_all(b)) {
        mem_free_aligned(out);
        return error_memory(f->err, 2 * b->side * b->side * sizeof(double), e->name);
    }
    return fold_add(f, e->name, stem, ".oft_change", 2, shape, out);
}

static leco_status fold_oft(folding *f, const safetensors_entry *e, size_t stem)
{
    const safetensors_entry *rescale = fold_beside(f, e->name, stem, ".rescale");
    float *q = NULL, *scale = NULL;
    if (e->rank != 3 || e->shape[1] != e->shape[2] || e->count == 0)
        return fold_wrong(f, e, "square blocks [count,side,side] (of a BOFT, of four dimensions, leco makes nothing)");
    if (e->shape[0] > INT32_MAX || e->shape[1] > INT32_MAX)
        return fold_wrong(f, e, "blocks of a size that layers have");
    if (rescale && (int64_t)rescale->count != e->shape[0] * e->shape[1])
        return fold_wrong(f, rescale, "a number for each of the layer's outputs");
    leco_status status = fold_values_of(f, e, &q);
    if (status == LECO_OK && rescale) status = fold_values_of(f, rescale, &scale);
    blocks b = {.count = (size_t)e->shape[0], .side = (size_t)e->shape[1], .q = q, .rescale = scale};
    if (status == LECO_OK) status = turn_blocks(f, e, stem, &b);
    mem_free(q);
    mem_free(scale);
    LECO_TRY(status);
    LECO_TRY(fold_take_away(f, e->name, stem, ".oft_blocks"));
    LECO_TRY(fold_take_away(f, e->name, stem, ".rescale"));
    return fold_take_away(f, e->name, stem, ".alpha"); /* which was the constraint, no scale */
}

/* ---- (IA)^3 ---- */

/* What it scales: on_input is 0 or 1. A scale that nothing says this of stays, to be refused. */
static leco_status fold_ia3(folding *f, const safetensors_entry *e, size_t stem)
{
    const safetensors_entry *on_input = fold_beside(f, e->name, stem, ".on_input");
    double value;
    if (!on_input || !dtype_is_float(e->type) || e->count == 0) return LECO_OK;
    if (!safetensors_number(on_input, &value)) return fold_wrong(f, on_input, "a number, 0 or 1");
    float *copy;
    LECO_TRY(fold_make_room(f, e, e->shape, e->rank, &copy));
    dtype_convert(copy, DTYPE_F32, e->data, e->type, e->count);
    LECO_TRY(fold_add(f, e->name, stem, value != 0 ? ".ia3_in" : ".ia3_out", e->rank, e->shape, copy));
    LECO_TRY(fold_take_away(f, e->name, stem, ".weight"));
    return fold_take_away(f, e->name, stem, ".on_input");
}

leco_status fold_lycoris(folding *f, const safetensors_entry *e, size_t stem)
{
    const char *suffix = e->name + stem;
    if (strcmp(suffix, ".oft_blocks") == 0) return fold_oft(f, e, stem);
    if (strcmp(suffix, ".weight") == 0) return fold_ia3(f, e, stem);
    return LECO_OK;
}
