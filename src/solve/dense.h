/* Dense linear algebra in double, by BLAS and LAPACK.
 *
 * Matrices are column-major and packed: "[m,n]" has element (i, j) at i + j * m. (A row-major matrix read like that is
 * its transpose.) Sides are at most INT_MAX. Elements must be finite: LAPACK may not return otherwise. Temporary memory
 * comes from `scratch`. Failures: LECO_MEMORY, and LECO_INTERNAL with what LAPACK reported. */
#ifndef LECO_SOLVE_DENSE_H
#define LECO_SOLVE_DENSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

/* Memory for a [rows, columns] matrix, of zeros; NULL, with *err filled in, where there is none. */
double *dense_new(arena *scratch, int64_t rows, int64_t columns, leco_error *err);

/* out [columns, rows] = a [rows, columns] transposed. */
void dense_transpose(const double *a, int64_t rows, int64_t columns, double *out);

/* out [rows, columns] = a [rows, inner] * b [inner, columns], where a is tall: in blocks that fit into a core's cache,
 * by as many threads as leco computes with. The result doesn't depend on their number. */
void dense_product(const double *a, const double *b, int64_t rows, int64_t inner, int64_t columns, double *out);
/* out [rows, columns] = a [rows, inner] * b [inner, columns], where a is flat. Likewise. */
void dense_flat_product(const double *a, const double *b, int64_t rows, int64_t inner, int64_t columns, double *out);

/* a [rows, columns] = Q R with k = min(rows, columns): a's first k columns become Q [rows, k]; r [k, columns], upper
 * triangular, may be NULL. */
leco_status dense_qr(double *a, int64_t rows, int64_t columns, double *r, arena *scratch, leco_error *err);

/* a [rows, columns] = u [rows, k] diag(s [k]) vt [k, columns] with k = min(rows, columns), s falling. Overwrites a. */
leco_status dense_svd(double *a, int64_t rows, int64_t columns, double *u, double *s, double *vt, arena *scratch,
                      leco_error *err);

/* out [rows, columns] += a [rows, count] * b [columns, count] transposed, where count is small beside the others. */
void dense_add_outer(const double *a, const double *b, int64_t rows, int64_t columns, int64_t count, double *out);
/* The same of a product that is symmetric, added to what is: b is a [n, count] but for its columns' scale. Half the
 * work. */
void dense_add_symmetric(const double *a, const double *b, int64_t n, int64_t count, double *out);

/* a [n, n], symmetric and positive definite, becomes L [n, n] with a = L L^T: lower triangular, zeros above. One that
 * isn't definite is LECO_INVALID, "singular". */
leco_status dense_cholesky(double *a, int64_t n, leco_error *err);

/* b [rows, n] = b L^-1, or, transposed, b L^-T, of a lower triangular L [n, n]. */
void dense_divide_lower(double *b, const double *lower, int64_t rows, int64_t n, bool transposed);

/* b [n, columns] = a^-1 b of any regular a [n, n], which is overwritten. A singular one is LECO_INVALID. */
leco_status dense_solve(double *a, double *b, int64_t n, int64_t columns, arena *scratch, leco_error *err);

/* a [n, n], symmetric, becomes its eigenvectors, column after column, with their values in `value` [n], rising. */
leco_status dense_eigen(double *a, double *value, int64_t n, arena *scratch, leco_error *err);

#endif
