/* LoRAs in the making: layer after layer, a product of two thin matrices. And what was lost in making them so thin. */
#ifndef LECO_SOLVE_THIN_H
#define LECO_SOLVE_THIN_H

#include "model/trainable.h"

typedef struct thin_layer {
    const layer_info *layer; /* borrowed */
    int64_t rank;
    float alpha;
    float *up, *down; /* [out,rank], [rank, in k k]; owned */
} thin_layer;

typedef struct thin_list { /* zero-initialise */
    thin_layer *at;
    size_t count, capacity;
} thin_list;

/* Adds a layer's change up * down. What is saved is up * rank / alpha, alpha being a power of two (so that every
 * precision can hold it) near rank * scale: with the scale that up's values had, they come out as they were. */
leco_status thin_add(thin_list *list, const layer_info *layer, int64_t rank, const double *up, const double *down,
                     double scale, leco_error *err);
/* All of them as one LoRA. */
leco_status thin_assemble(const thin_list *list, trainable **out, leco_error *err);
void thin_free(thin_list *list);

/* What was made of how much, and what was lost: Frobenius norms over layers. Zero-initialise. */
typedef struct thin_report {
    size_t layers[PART_COUNT];                   /* that are changed */
    double square[PART_COUNT], lost[PART_COUNT]; /* sums of squares: of the changes, and of what was left out */
    int64_t rank;                                /* the largest that a layer has */
    double most_lost;                            /* of one layer, as a share of its own norm, */
    const layer_info *most_lost_layer;           /* and which; borrowed, NULL: nothing was lost */
    size_t others;                               /* tensors that differ and that no LoRA can hold */
} thin_report;

void thin_note(thin_report *r, const layer_info *layer, int64_t rank, double norm, double lost);

#endif
