/* An edit as a LoRA: for each matrix W the product of two thin ones that comes nearest to W change, where "near" is
 * what the edit's metric says: of all products of that rank it is the one that serves the states best. */
#ifndef LECO_SOLVE_CUT_H
#define LECO_SOLVE_CUT_H

#include "solve/edit.h"
#include "solve/low_rank.h"

/* The change of one matrix. */
typedef struct cut_layer {
    int64_t rows, rank; /* the rank is `most`, or less where the matrix has fewer rows */
    double *up;         /* [rows, rank] column-major: its first columns are those of every lower rank */
    double *down;       /* [rank, width] row-major, likewise its first rows */
    double *lost2;      /* [most + 1] squared norm, in the metric, of what a rank of 0, 1, ... leaves out */
} cut_layer;

typedef struct cut {
    int64_t width, most; /* the highest rank that was kept */
    cut_layer *layer;
    size_t count;
    double *basis, *coordinates; /* change = basis [width, inner] coordinates [inner, width], about */
    double left_out;             /* the part of change that isn't in that product, squared and relative */
    int64_t inner;
    const double *metric;
    arena *memory;
} cut;

/* Begins one of `count` layers with ranks of up to `most`; all that it needs is memory's. */
leco_status cut_create(const edit *e, size_t count, int64_t most, arena *memory, cut *out, leco_error *err);
/* Cuts the change of matrix number `index`, W [rows, width] row-major. */
leco_status cut_add(cut *c, size_t index, const double *matrix, int64_t rows, leco_error *err);

/* The part of the change of all layers that a rank leaves out: 0 to 1, the root of the squares' ratio. */
double cut_lost(const cut *c, int64_t rank);
/* The lowest rank that leaves out no more than that; c->most where none does. */
int64_t cut_rank(const cut *c, double lost);

#endif
