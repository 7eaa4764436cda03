/* The rotations that OFT and BOFT are made of, as the matrix that they are. */
#ifndef LECO_MODEL_ROTATION_H
#define LECO_MODEL_ROTATION_H

#include <stdbool.h>
#include <stddef.h>

/* Which rows a stage's blocks turn: neighbours; or, so that each stage mixes rows further apart, those that lie
 * (as LyCORIS has it) or whose halves of blocks lie (as PEFT has it) 2^stage * side / 2 apart. */
typedef enum rotation_order { ROTATION_NEIGHBOURS, ROTATION_ROWS, ROTATION_HALVES } rotation_order;

#define ROTATION_EXACT (-1)

/* Of each block q [side,side], with Q = times * (q - q^T):  (1 + Q) (1 - Q)^-1, or the beginning of its series,
 * 1 + 2 Q + 2 Q^2 ... to Q^series, and, where `half`, the next power once. With -times it is the transposed. */
typedef struct rotation {
    size_t stages, count, side;
    const float *q; /* [stages,count,side,side]; where they are `shared`, one block for all of count */
    bool shared;
    double times;
    int series; /* or ROTATION_EXACT */
    bool half;
    rotation_order order;
    bool last_first; /* the last stage turns first */
} rotation;

/* Do such stages exist? Blocks with halves, and as many as the last stage takes together. */
bool rotation_fits(const rotation *r);
/* out [width,width], width = count * side, of zeros, becomes the product of the stages, the first on the right. False:
 * out of memory. */
bool rotation_make(const rotation *r, float *out);

#endif
