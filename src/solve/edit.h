/* Closed-form edits of matrices that read text states: the keys and values of cross-attention.
 *
 * Every such W becomes W (I + change). The change is the same for all of them, because what is asked for is: states c
 * are to be read like states g, while states p are read as before, and nothing else moves far.
 *
 *     UCE:    change = (sum g c^T - sum c c^T) (sum c c^T + sum p p^T + lambda I)^-1
 *     SPEED:  change = (sum g c^T - sum c c^T) P (I - M K (K^T P M K + lambda I)^-1 K^T P) M,
 *             M = (sum c c^T P + lambda I)^-1, P the projector on what the states p hardly reach, K two more states
 *             that stay
 *     RECE:   the same again, on states c' that the edited W reads like W did c: c' = (sum W'^T W' + lambda I)^-1
 *             (sum W'^T W) c
 *
 * Source: Gandikota et al., "Unified concept editing in diffusion models" (2024); Li et al., "SPEED: scalable, precise,
 * and efficient concept erasure for diffusion models" (2025); Gong et al., "Reliable and efficient concept erasure of
 * text-to-image diffusion models" (2024). States are columns; all matrices are [width, width], column-major, double. */
#ifndef LECO_SOLVE_EDIT_H
#define LECO_SOLVE_EDIT_H

#include "solve/dense.h"

/* What of the states an edit depends on. */
typedef struct moments {
    int64_t width;
    double *cc, *gc, *pp; /* sums of w c c^T, w g c^T, w p p^T: the weights w are the caller's */
    double erased, kept;  /* sums of their weights */
    double *anchors;      /* [width, 2] K of SPEED, or NULL */
    double *gram;         /* sum W^T W of the matrices that are edited: of RECE, or NULL */
} moments;

/* Zeroed, without anchors and gram; they are memory's. */
leco_status moments_create(int64_t width, arena *memory, moments *out, leco_error *err);
/* Adds `count` states c that become g, both [width, count], with their weights [count]. */
leco_status moments_erase(moments *m, const float *c, const float *g, const float *weight, int64_t count,
                          leco_error *err);
leco_status moments_keep(moments *m, const float *p, const float *weight, int64_t count, leco_error *err);
/* Makes the sums averages, so that the erased states together weigh as much as the kept ones. */
void moments_average(moments *m);

typedef enum edit_method { EDIT_UCE, EDIT_SPEED } edit_method;

typedef struct edit_options {
    edit_method method;
    double lambda; /* at least 0 */
    int rounds;    /* of RECE, after the first solve: 0 to 3 */
} edit_options;

typedef struct edit {
    int64_t width;
    double *change; /* [width, width] */
    double *metric; /* [width, width] lower triangular L with L L^T = sum c c^T + sum p p^T + lambda I: how much an
                       error of a change matters is its norm behind L */
} edit;

/* What comes out is memory's. A system that the states don't determine, with a lambda of 0, is LECO_INVALID. */
leco_status edit_solve(const moments *m, const edit_options *options, arena *memory, edit *out, leco_error *err);

#endif
