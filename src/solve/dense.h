/* Dense linear algebra in double, by BLAS and LAPACK.
 *
 * Matrices are column-major and packed: "[m,n]" has element (i, j) at i + j * m. (A row-major matrix read like that is
 * its transpose.) Sides are at most INT_MAX. Elements must be finite: LAPACK may not return otherwise. Temporary memory
 * comes from `scratch`. Failures: LECO_MEMORY, and LECO_INTERNAL with what LAPACK reported. */
#ifndef LECO_SOLVE_DENSE_H
#define LECO_SOLVE_DENSE_H

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

#endif
