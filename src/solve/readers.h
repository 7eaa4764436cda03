/* The matrices of a U-Net that read text states: to_k and to_v of its cross-attention. */
#ifndef LECO_SOLVE_READERS_H
#define LECO_SOLVE_READERS_H

#include "base/arena.h"
#include "model/model.h"

typedef struct reader {
    const layer_info *layer; /* the model's: out x in */
    const weight *weight;    /* likewise */
} reader;

typedef struct readers {
    reader *item;
    size_t count;
    int64_t width; /* of the states: all of them have it */
} readers;

/* m's U-Net is mapped (model_map). A model whose cross-attention reads something else than its text encoders' states is
 * LECO_UNSUPPORTED. */
leco_status readers_find(model *m, arena *memory, readers *out, leco_error *err);

/* out [out, in] row-major, double. Values that aren't finite are LECO_FORMAT. */
leco_status reader_values(const reader *r, double *out, leco_error *err);

/* How all of them read a state x, in few numbers: |sketch x| is about the norm of all keys and values that come of x.
 * [READERS_SKETCH, width] column-major, the arena's. (Each row of each matrix is added to one of the sketch's, with a
 * random sign: Charikar, Chen and Farach-Colton, "Finding frequent items in data streams", 2002.) */
enum { READERS_SKETCH = 256 };
leco_status readers_sketch(const readers *r, arena *memory, double **out, leco_error *err);
/* The same of other matrices, of the same shapes: `fill` writes that of reader number `index`, [out, in] row-major. */
typedef leco_status (*reader_fill)(const void *user, size_t index, double *out, leco_error *err);
leco_status readers_sketch_of(const readers *r, reader_fill fill, const void *user, arena *memory, double **out,
                              leco_error *err);

/* sum W^T W [width, width]; the arena's. Slow: RECE wants it. */
leco_status readers_gram(const readers *r, arena *memory, double **out, leco_error *err);

#endif
