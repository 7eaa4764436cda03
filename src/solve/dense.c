#include "solve/dense.h"

#include <assert.h>
#include <cblas.h>
#include <lapacke.h>
#include <limits.h>
#include <string.h>

#include "base/cpu.h"

/* The reference BLAS reads its first matrix anew for every column of the result: what it is given at a time should lie
 * in a core's second cache, here 256 * 64 elements, 128 KiB. */
enum { BLOCK_LONG = 256, BLOCK_SHORT = 64 };

static lapack_int side(int64_t length)
{
    assert(length > 0 && length <= INT_MAX);
    return (lapack_int)length;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

double *dense_new(arena *scratch, int64_t rows, int64_t columns, leco_error *err)
{
    double *a = arena_alloc(scratch, (size_t)columns, (size_t)rows * sizeof *a);
    if (!a) error_memory(err, (size_t)rows * (size_t)columns * sizeof *a, "a matrix");
    return a;
}

void dense_transpose(const double *a, int64_t rows, int64_t columns, double *out)
{
    for (int64_t j0 = 0; j0 < columns; j0 += BLOCK_SHORT)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = j0; j < smaller(j0 + BLOCK_SHORT, columns); j++) out[j + i * columns] = a[i + j * rows];
}

/* Rows from .. from + count of the product, or the same columns of a flat one. */
static void product_part(const double *a, const double *b, int64_t rows, int64_t inner, int64_t columns, double *out,
                         int64_t from, int64_t count, bool flat)
{
    for (int64_t k = 0; k < inner; k += BLOCK_SHORT) {
        const lapack_int deep = side(smaller(BLOCK_SHORT, inner - k));
        const double keep = k > 0;
        if (flat)
            cblas_dgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, side(rows), side(count), deep, 1, a + k * rows,
                        side(rows), b + k + from * inner, side(inner), keep, out + from * rows, side(rows));
        else
            cblas_dgemm(CblasColMajor, CblasNoTrans, CblasNoTrans, side(count), side(columns), deep, 1,
                        a + from + k * rows, side(rows), b + k, side(inner), keep, out + from, side(rows));
    }
}

void dense_product(const double *a, const double *b, int64_t rows, int64_t inner, int64_t columns, double *out)
{
#pragma omp parallel for num_threads(cpu_threads()) schedule(dynamic)
    for (int64_t i = 0; i < rows; i += BLOCK_LONG)
        product_part(a, b, rows, inner, columns, out, i, smaller(BLOCK_LONG, rows - i), false);
}

void dense_flat_product(const double *a, const double *b, int64_t rows, int64_t inner, int64_t columns, double *out)
{
#pragma omp parallel for num_threads(cpu_threads()) schedule(dynamic)
    for (int64_t j = 0; j < columns; j += BLOCK_SHORT)
        product_part(a, b, rows, inner, columns, out, j, smaller(BLOCK_SHORT, columns - j), true);
}

static leco_status lapack_failed(const char *routine, lapack_int info, leco_error *err)
{
    return error_set(err, LECO_INTERNAL, "LAPACK's %s failed with info = %d", routine, (int)info);
}

/* Room for what LAPACK asked for: it says how much in a double. */
static double *work_new(arena *scratch, double asked, lapack_int *size, leco_error *err)
{
    if (!(asked <= INT_MAX)) asked = INT_MAX;
    *size = asked < 1 ? 1 : (lapack_int)asked;
    return dense_new(scratch, *size, 1, err);
}

leco_status dense_qr(double *a, int64_t rows, int64_t columns, double *r, arena *scratch, leco_error *err)
{
    const int64_t k = smaller(rows, columns);
    const lapack_int m = side(rows), n = side(columns), q = side(k);
    double asked, asked_for_q, *tau = dense_new(scratch, k, 1, err), *work;
    lapack_int size, info;
    if (!tau) return LECO_MEMORY;
    info = LAPACKE_dgeqrf_work(LAPACK_COL_MAJOR, m, n, a, m, tau, &asked, -1);
    if (info != 0) return lapack_failed("dgeqrf", info, err);
    info = LAPACKE_dorgqr_work(LAPACK_COL_MAJOR, m, q, q, a, m, tau, &asked_for_q, -1);
    if (info != 0) return lapack_failed("dorgqr", info, err);
    if (!(work = work_new(scratch, asked > asked_for_q ? asked : asked_for_q, &size, err))) return LECO_MEMORY;
    info = LAPACKE_dgeqrf_work(LAPACK_COL_MAJOR, m, n, a, m, tau, work, size);
    if (info != 0) return lapack_failed("dgeqrf", info, err);
    for (int64_t j = 0; r && j < columns; j++)
        for (int64_t i = 0; i < k; i++) r[i + j * k] = i <= j ? a[i + j * rows] : 0;
    info = LAPACKE_dorgqr_work(LAPACK_COL_MAJOR, m, q, q, a, m, tau, work, size);
    return info == 0 ? LECO_OK : lapack_failed("dorgqr", info, err);
}

leco_status dense_svd(double *a, int64_t rows, int64_t columns, double *u, double *s, double *vt, arena *scratch,
                      leco_error *err)
{
    const int64_t k = smaller(rows, columns);
    const lapack_int m = side(rows), n = side(columns), q = side(k);
    lapack_int size, info, *whole = arena_alloc(scratch, (size_t)k, 8 * sizeof *whole);
    double asked, *work;
    if (!whole) return error_memory(err, (size_t)k * 8 * sizeof *whole, "singular values");
    info = LAPACKE_dgesdd_work(LAPACK_COL_MAJOR, 'S', m, n, a, m, s, u, m, vt, q, &asked, -1, whole);
    if (info != 0) return lapack_failed("dgesdd", info, err);
    if (!(work = work_new(scratch, asked, &size, err))) return LECO_MEMORY;
    info = LAPACKE_dgesdd_work(LAPACK_COL_MAJOR, 'S', m, n, a, m, s, u, m, vt, q, work, size, whole);
    return info == 0 ? LECO_OK : lapack_failed("dgesdd", info, err);
}

void dense_add_outer(const double *a, const double *b, int64_t rows, int64_t columns, int64_t count, double *out)
{
#pragma omp parallel for num_threads(cpu_threads()) schedule(dynamic)
    for (int64_t j = 0; j < columns; j += BLOCK_SHORT)
        cblas_dgemm(CblasColMajor, CblasNoTrans, CblasTrans, side(rows), side(smaller(BLOCK_SHORT, columns - j)),
                    side(count), 1, a, side(rows), b + j, side(columns), 1, out + j * rows, side(rows));
}

void dense_add_symmetric(const double *a, const double *b, int64_t n, int64_t count, double *out)
{
#pragma omp parallel for num_threads(cpu_threads()) schedule(dynamic)
    for (int64_t j = 0; j < n; j += BLOCK_SHORT)
        cblas_dgemm(CblasColMajor, CblasNoTrans, CblasTrans, side(n - j), side(smaller(BLOCK_SHORT, n - j)),
                    side(count), 1, a + j, side(n), b + j, side(n), 1, out + j + j * n, side(n));
    for (int64_t j0 = 0; j0 < n; j0 += BLOCK_SHORT)
        for (int64_t i = j0; i < n; i++)
            for (int64_t j = j0; j < smaller(j0 + BLOCK_SHORT, i); j++) out[j + i * n] = out[i + j * n];
}

static leco_status singular(leco_error *err)
{
    return error_set(err, LECO_INVALID, "the system of equations is singular; a larger lambda makes it sound");
}

leco_status dense_cholesky(double *a, int64_t n, leco_error *err)
{
    const lapack_int info = LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'L', side(n), a, side(n));
    if (info > 0) return singular(err);
    if (info < 0) return lapack_failed("dpotrf", info, err);
    for (int64_t j = 1; j < n; j++)
        for (int64_t i = 0; i < j; i++) a[i + j * n] = 0;
    return LECO_OK;
}

void dense_divide_lower(double *b, const double *lower, int64_t rows, int64_t n, bool transposed)
{
#pragma omp parallel for num_threads(cpu_threads()) schedule(dynamic)
    for (int64_t i = 0; i < rows; i += BLOCK_SHORT)
        cblas_dtrsm(CblasColMajor, CblasRight, CblasLower, transposed ? CblasTrans : CblasNoTrans, CblasNonUnit,
                    side(smaller(BLOCK_SHORT, rows - i)), side(n), 1, lower, side(n), b + i, side(rows));
}

leco_status dense_solve(double *a, double *b, int64_t n, int64_t columns, arena *scratch, leco_error *err)
{
    lapack_int *pivot = arena_alloc(scratch, (size_t)n, sizeof *pivot);
    if (!pivot) return error_memory(err, (size_t)n * sizeof *pivot, "a matrix");
    const lapack_int info = LAPACKE_dgesv_work(LAPACK_COL_MAJOR, side(n), side(columns), a, side(n), pivot, b, side(n));
    if (info > 0) return singular(err);
    return info == 0 ? LECO_OK : lapack_failed("dgesv", info, err);
}

leco_status dense_eigen(double *a, double *value, int64_t n, arena *scratch, leco_error *err)
{
    lapack_int size, whole_size, info, asked_whole;
    double asked, *work;
    info = LAPACKE_dsyevd_work(LAPACK_COL_MAJOR, 'V', 'L', side(n), a, side(n), value, &asked, -1, &asked_whole, -1);
    if (info != 0) return lapack_failed("dsyevd", info, err);
    whole_size = asked_whole;
    lapack_int *whole = arena_alloc(scratch, (size_t)whole_size, sizeof *whole);
    if (!whole) return error_memory(err, (size_t)whole_size * sizeof *whole, "eigenvalues");
    if (!(work = work_new(scratch, asked, &size, err))) return LECO_MEMORY;
    info = LAPACKE_dsyevd_work(LAPACK_COL_MAJOR, 'V', 'L', side(n), a, side(n), value, work, size, whole, whole_size);
    return info == 0 ? LECO_OK : lapack_failed("dsyevd", info, err);
}
