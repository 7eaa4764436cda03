/* Frozen weights and trainable parameters: tensors that outlive any one graph. */
#ifndef LECO_GRAPH_WEIGHT_H
#define LECO_GRAPH_WEIGHT_H

#include "base/error.h"
#include "graph/tensor.h"

/* A frozen tensor as a file (or a generator) has it. Semantic shapes: linear [out,in], conv [out,in,kh,kw], norms and
 * biases [channels], embeddings [rows,width]. */
struct weight {
    const char *name; /* owned by whoever owns the weight, as is data */
    dtype type;       /* of data: f32, f16, bf16 or f64 */
    shape shape;
    const void *data;       /* borrowed, perhaps unaligned (a memory map); plain row-major. Plans don't read it */
    bool keep_out_of_place; /* data is a stand-in shared by many weights (bench): always copy, never use it in place */
    bool narrow;            /* kernels that can keep it as int8 with a scale a row do */
    struct weight_form *forms; /* what backends made of it: backend/weight_form.h */
    uint64_t version;          /* of data: 0; of a buffer of params from 1 on, another whenever they changed */
};

/* A trainable (or loaded) adapter tensor. value and grad are the host's, 64-byte aligned, owned by whoever made it;
 * f32, or f64 for the reference backend's f64 graphs. They may be NULL as long as nothing is but planned. */
struct param {
    const char *name;
    dtype type;
    shape shape;
    bool trained; /* has a gradient */
    void *value;
    void *grad;            /* NULL where it isn't trained */
    struct weight *buffer; /* what value is part of, which devices take as a whole when it changed; NULL: nothing */
};

#endif
