/* What LoRAs change each layer of a model by:
 *
 *     change [out, in k k] = sum over LoRAs of  weight * alpha / rank * up [out,rank] down [rank, in k k]
 *
 * (of a LoHa: of its two products, multiplied element by element; others say it themselves, as LoKr and DoRA: the
 * `change` of model/kinds.h). Matrices are row-major. A bias, or a norm's scale, is changed as a matrix of one column.
 */
#ifndef LECO_SOLVE_CHANGE_H
#define LECO_SOLVE_CHANGE_H

#include "base/arena.h"
#include "model/trainable.h"

/* A LoRA, loaded in DTYPE_F64, and how much of it is wanted: any finite number. One of weight 0 changes nothing. */
typedef struct change_source {
    const char *path; /* for messages */
    trainable *trainable;
    double weight;
} change_source;

typedef struct change {
    const layer_info *layer;
    const char *tensor;     /* of the layer: "weight" or "bias" */
    int64_t rows, columns;  /* out, in k k */
    int64_t rank;           /* the sum of the ranks */
    double scale;           /* the largest |weight * alpha / rank| */
    const char *no_product; /* the file of the first that isn't the product of two thin matrices (a LoHa), or NULL; */
    const char *its_kind;   /* and what that is */
    const char *of_weight;  /* the file of the first whose change depends on the layer's weight (a DoRA), or NULL */
    bool beside;            /* of a bias: the layer's weight is changed, too, which comes before it */
    const char *of_vector;  /* the file of the first that changes a bias or a norm, if that is what this is, or NULL */
    size_t count;
    struct change_part {
        const change_source *source;
        size_t module; /* of the source's trainable */
    } * part;          /* [count] */
} change;

typedef struct change_list {
    change *at; /* [count], in the order of the layers */
    size_t count;
} change_list;

/* All layers that a source changes, in the arena. The sources were loaded with these layers. */
leco_status changes_collect(const adapter_layers *layers, const change_source *sources, size_t count, arena *memory,
                            change_list *out, leco_error *err);

/* Adds the change to matrix [rows, columns]. w [rows, columns] is the layer's weight; NULL only where not of_weight.
 * `scratch` is for the call. */
leco_status change_add(const change *c, const double *w, double *matrix, arena *scratch, leco_error *err);

/* The change as a product: up [rows, rank] with all the scales in it, down [rank, columns]. Not where no_product. */
void change_factors(const change *c, double *up, double *down);

#endif
