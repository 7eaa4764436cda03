/* The best approximation of a matrix by a product of two thin ones, which is what a LoRA can hold of it:
 *
 *     A [rows,columns]  ~  up [rows,rank] down [rank,columns],     up = U sqrt(S), down = sqrt(S) V^T
 *
 * with the `rank` largest singular values S of A and their vectors U, V. sqrt(S) goes to both sides, so that both have
 * elements of a similar size: files keep them in 16 bits, where a side that held all of S could run out of range.
 *
 * Where both sides of A are much longer than rank, a randomised range finder comes first: Halko, Martinsson and Tropp,
 * "Finding structure with randomness" (2011), algorithms 4.4 and 5.1. Its random numbers are the same every time. A
 * matrix whose rank is at most `rank` comes out exact to rounding; of another, `lost` is close to the least possible.
 *
 * Matrices here are row-major. */
#ifndef LECO_SOLVE_LOW_RANK_H
#define LECO_SOLVE_LOW_RANK_H

#include <stdint.h>

#include "base/error.h"

typedef struct low_rank {
    int64_t rows, columns, rank;
    double *up, *down; /* owned */
    double *singular;  /* [rank], falling; owned */
    double norm;       /* |A|, Frobenius */
    double lost;       /* |A - up down| / |A|; what is below 1e-6 may be said to be 0. 0 where A is 0 */
} low_rank;

void low_rank_free(low_rank *r); /* safe on a zeroed one */

/* Of a [rows, columns]. 1 <= rank <= min(rows, columns), or LECO_INVALID; so are elements that aren't finite. Also
 * LECO_MEMORY, LECO_INTERNAL where LAPACK fails. *out is untouched then. */
leco_status low_rank_of_matrix(const double *a, int64_t rows, int64_t columns, int64_t rank, low_rank *out,
                               leco_error *err);

/* Of up [rows, inner] * down [inner, columns], which is never formed: by a QR of each and the SVD of what is between
 * them. 1 <= rank <= min(rows, columns, inner). Errors as above. */
leco_status low_rank_of_product(const double *up, const double *down, int64_t rows, int64_t inner, int64_t columns,
                                int64_t rank, low_rank *out, leco_error *err);

#endif
