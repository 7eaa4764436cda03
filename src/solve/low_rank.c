#include "solve/low_rank.h"

#include <cblas.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "solve/dense.h"

enum { OVERSAMPLING = 16, POWER_ITERATIONS = 2, SEED = 20110517 };
#define ROUNDING 1e-13 /* of sums of squares that should be equal */

void low_rank_free(low_rank *r)
{
    mem_free_aligned(r->up);
    mem_free_aligned(r->down);
    mem_free_aligned(r->singular);
    *r = (low_rank){0};
}

static double *new_numbers(int64_t count)
{
    size_t bytes;
    return mem_mul((size_t)count, sizeof(double), &bytes) ? mem_aligned(bytes) : NULL;
}

/* Fills out from A = left diag(s) right^T. left(i, j) stands at i * row + j * column; right is [columns, >= rank],
 * column-major. */
static leco_status take(low_rank *out, const double *left, int64_t row, int64_t column, const double *s,
                        const double *right, leco_error *err)
{
    const int64_t rank = out->rank;
    out->up = new_numbers(out->rows * rank);
    out->down = new_numbers(rank * out->columns);
    out->singular = new_numbers(rank);
    if (!out->up || !out->down || !out->singular) {
        const size_t bytes = (size_t)((out->rows + out->columns + 1) * rank) * sizeof(double);
        low_rank_free(out);
        return error_memory(err, bytes, "the factors of a matrix");
    }
    memcpy(out->singular, s, (size_t)rank * sizeof *s);
    for (int64_t j = 0; j < rank; j++) {
        const double share = sqrt(s[j]);
        for (int64_t i = 0; i < out->rows; i++) out->up[i * rank + j] = left[i * row + j * column] * share;
        for (int64_t i = 0; i < out->columns; i++)
            out->down[j * out->columns + i] = right[i + j * out->columns] * share;
    }
    return LECO_OK;
}

/* |A| and what is lost. s [count] has what there is of A's singular values; rest: the sum of the squares of all others.
 */
static void take_norms(low_rank *out, const double *s, int64_t count, double rest)
{
    double kept = 0, left_out = rest;
    for (int64_t i = 0; i < out->rank; i++) kept += s[i] * s[i];
    for (int64_t i = out->rank; i < count; i++) left_out += s[i] * s[i];
    out->norm = sqrt(kept + left_out);
    out->lost = left_out > 0 ? sqrt(left_out / (kept + left_out)) : 0;
}

/* Sum of squares, in rows, which keeps rounding small; not finite where an element isn't, or is beyond 1e150. */
static double square_norm(const double *a, int64_t rows, int64_t columns)
{
    double all = 0;
    for (int64_t i = 0; i < rows; i++) {
        double sum = 0;
        for (int64_t j = 0; j < columns; j++) sum += a[i * columns + j] * a[i * columns + j];
        all += sum;
    }
    return all;
}

/* Of a matrix that is a product over `inner`; of any other, inner is one of its sides. */
static leco_status check(int64_t rows, int64_t inner, int64_t columns, int64_t rank, leco_error *err)
{
    const int64_t shorter = rows < columns ? rows : columns, most = shorter < inner ? shorter : inner;
    if (rows < 1 || columns < 1 || inner < 1 || rows > INT_MAX || columns > INT_MAX || inner > INT_MAX)
        return error_set(err, LECO_INVALID, "a matrix has sides [%lld,%lld,%lld]: LAPACK takes 1 to %d",
                         (long long)rows, (long long)inner, (long long)columns, INT_MAX);
    if (rank < 1 || rank > most)
        return error_set(err, LECO_INVALID, "a matrix [%lld,%lld] can't have rank %lld here, only 1 to %lld",
                         (long long)rows, (long long)columns, (long long)rank, (long long)most);
    return LECO_OK;
}

static leco_status not_finite(leco_error *err)
{
    return error_set(err, LECO_INVALID, "a matrix holds numbers that aren't finite");
}

/* All singular values, by LAPACK alone. */
static leco_status small_matrix(const double *a, low_rank *out, arena *scratch, leco_error *err)
{
    const int64_t m = out->rows, n = out->columns, k = m < n ? m : n;
    double *t, *u, *s, *vt;
    if (!(t = dense_new(scratch, n, m, err)) || !(u = dense_new(scratch, n, k, err)) ||
        !(s = dense_new(scratch, k, 1, err)) || !(vt = dense_new(scratch, k, m, err)))
        return LECO_MEMORY;
    memcpy(t, a, (size_t)m * (size_t)n * sizeof *a); /* column-major, it is the transpose: A = vt^T diag(s) u^T */
    LECO_TRY(dense_svd(t, n, m, u, s, vt, scratch, err));
    take_norms(out, s, k, 0);
    return take(out, vt, k, 1, s, u, err);
}

/* q [m, l] becomes an orthonormal basis of what A does most, and z [n, l] A^T q. */
static leco_status find_range(const double *a, int64_t m, int64_t n, int64_t l, double norm, double *q, double *z,
                              arena *scratch, leco_error *err)
{
    rng r;
    double *flat_z, *flat_q;
    if (!(flat_z = dense_new(scratch, l, n, err)) || !(flat_q = dense_new(scratch, l, m, err))) return LECO_MEMORY;
    float *normal = arena_alloc(scratch, (size_t)n, (size_t)l * sizeof *normal);
    if (!normal) return error_memory(err, (size_t)n * (size_t)l * sizeof *normal, "random numbers");
    rng_seed(&r, RNG_CPU, SEED);
    rng_normal(&r, normal, (size_t)(n * l));
    for (int64_t i = 0; i < n * l; i++) flat_z[i] = (double)normal[i];
    for (int i = 0;; i++) {
        dense_flat_product(flat_z, a, l, n, m, flat_q); /* (A z)^T */
        dense_transpose(flat_q, l, m, q);
        LECO_TRY(dense_qr(q, m, l, NULL, scratch, err));
        dense_product(a, q, n, m, l, z); /* A^T q */
        if (i == POWER_ITERATIONS || norm - square_norm(z, l, n) <= ROUNDING * norm) return LECO_OK;
        LECO_TRY(dense_qr(z, n, l, NULL, scratch, err));
        dense_transpose(z, n, l, flat_z);
    }
}

static leco_status large_matrix(const double *a, double norm, low_rank *out, arena *scratch, leco_error *err)
{
    const int64_t m = out->rows, n = out->columns, l = out->rank + OVERSAMPLING;
    double *q, *z, *u, *s, *vt, *left;
    if (!(q = dense_new(scratch, m, l, err)) || !(z = dense_new(scratch, n, l, err)) ||
        !(u = dense_new(scratch, n, l, err)) || !(s = dense_new(scratch, l, 1, err)) ||
        !(vt = dense_new(scratch, l, l, err)) || !(left = dense_new(scratch, m, l, err)))
        return LECO_MEMORY;
    LECO_TRY(find_range(a, m, n, l, norm, q, z, scratch, err));
    double rest = norm - square_norm(z, l, n);
    if (rest <= ROUNDING * norm) rest = 0;
    LECO_TRY(dense_svd(z, n, l, u, s, vt, scratch, err)); /* A ~ q z^T = (q vt^T) diag(s) u^T */
    cblas_dgemm(CblasColMajor, CblasNoTrans, CblasTrans, (int)m, (int)l, (int)l, 1, q, (int)m, vt, (int)l, 0, left,
                (int)m);
    take_norms(out, s, l, rest);
    return take(out, left, 1, m, s, u, err);
}

leco_status low_rank_of_matrix(const double *a, int64_t rows, int64_t columns, int64_t rank, low_rank *out,
                               leco_error *err)
{
    const int64_t shorter = rows < columns ? rows : columns;
    LECO_TRY(check(rows, shorter, columns, rank, err));
    const double norm = square_norm(a, rows, columns);
    if (!isfinite(norm)) return not_finite(err);
    low_rank result = {.rows = rows, .columns = columns, .rank = rank};
    arena *scratch = arena_create();
    if (!scratch) return error_memory(err, sizeof(double), "a matrix");
    leco_status status = shorter <= 2 * (rank + OVERSAMPLING) ? small_matrix(a, &result, scratch, err)
                                                              : large_matrix(a, norm, &result, scratch, err);
    arena_destroy(scratch);
    if (status == LECO_OK) *out = result;
    return status;
}

static leco_status product(const double *up, const double *down, int64_t inner, low_rank *out, arena *scratch,
                           leco_error *err)
{
    const int64_t m = out->rows, n = out->columns;
    const int64_t k = m < inner ? m : inner, l = n < inner ? n : inner, between = k < l ? k : l;
    double *q, *p, *r, *t, *middle, *u, *s, *vt, *left, *right;
    if (!(q = dense_new(scratch, m, inner, err)) || !(p = dense_new(scratch, n, inner, err)) ||
        !(r = dense_new(scratch, k, inner, err)) || !(t = dense_new(scratch, l, inner, err)) ||
        !(middle = dense_new(scratch, k, l, err)) || !(u = dense_new(scratch, k, between, err)) ||
        !(s = dense_new(scratch, between, 1, err)) || !(vt = dense_new(scratch, between, l, err)) ||
        !(left = dense_new(scratch, m, between, err)) || !(right = dense_new(scratch, n, between, err)))
        return LECO_MEMORY;
    dense_transpose(up, inner, m, q);
    memcpy(p, down, (size_t)inner * (size_t)n * sizeof *down); /* column-major, it is down^T */
    LECO_TRY(dense_qr(q, m, inner, r, scratch, err));
    LECO_TRY(dense_qr(p, n, inner, t, scratch, err));
    /* up down = q r t^T p^T */
    cblas_dgemm(CblasColMajor, CblasNoTrans, CblasTrans, (int)k, (int)l, (int)inner, 1, r, (int)k, t, (int)l, 0, middle,
                (int)k);
    LECO_TRY(dense_svd(middle, k, l, u, s, vt, scratch, err));
    dense_product(q, u, m, k, between, left);
    cblas_dgemm(CblasColMajor, CblasNoTrans, CblasTrans, (int)n, (int)between, (int)l, 1, p, (int)n, vt, (int)between,
                0, right, (int)n);
    take_norms(out, s, between, 0);
    return take(out, left, 1, m, s, right, err);
}

leco_status low_rank_of_product(const double *up, const double *down, int64_t rows, int64_t inner, int64_t columns,
                                int64_t rank, low_rank *out, leco_error *err)
{
    LECO_TRY(check(rows, inner, columns, rank, err));
    const double norm = square_norm(up, rows, inner) * square_norm(down, inner, columns); /* the product's is no more */
    if (!isfinite(norm)) return not_finite(err);
    low_rank result = {.rows = rows, .columns = columns, .rank = rank};
    arena *scratch = arena_create();
    if (!scratch) return error_memory(err, sizeof(double), "a matrix");
    leco_status status = product(up, down, inner, &result, scratch, err);
    arena_destroy(scratch);
    if (status == LECO_OK) *out = result;
    return status;
}
