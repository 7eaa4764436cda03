/* Frozen weights and trainable parameters: tensors that outlive any one graph. */
#ifndef LECO_GRAPH_WEIGHT_H
#define LECO_GRAPH_WEIGHT_H

#include "base/error.h"
#include "graph/tensor.h"

/* A backend's copy of a weight in the dtype and layout its kernels want. Graphs whose kernels agree on the key share
 * one copy. */
typedef struct weight_variant {
    struct weight_variant *next;
    size_t bytes;
    void *data; /* mem_aligned */
    size_t key_size;
    unsigned char key[];
} weight_variant;

/* A frozen tensor as a file (or a generator) has it. Semantic shapes: linear [out,in], conv [out,in,kh,kw], norms and
 * biases [channels], embeddings [rows,width]. */
struct weight {
    const char *name; /* owned by whoever owns the weight, as is data */
    dtype type;       /* of data: f32, f16, bf16 or f64 */
    shape shape;
    const void *data;       /* borrowed, perhaps unaligned (a memory map); plain row-major */
    bool keep_out_of_place; /* data is a stand-in shared by many weights (bench): always copy, never use it in place */
    weight_variant *variants;
};

/* A trainable (or loaded) adapter tensor. value and grad are 64-byte aligned, owned by whoever made it; f32, or f64 for
 * the reference backend's f64 graphs. grad is NULL for a param that isn't trained. */
struct param {
    const char *name;
    dtype type;
    shape shape;
    void *value;
    void *grad;
};

/* The variant with this key, or NULL. */
weight_variant *weight_find(const weight *w, const void *key, size_t key_size);
/* Adds an empty variant of `bytes` for the caller to fill. */
leco_status weight_add(weight *w, const void *key, size_t key_size, size_t bytes, weight_variant **out,
                       leco_error *err);
/* The data in row-major order as `type`: in place where dtype and alignment allow, else a variant made once. */
leco_status weight_plain(weight *w, dtype type, const void **data, leco_error *err);
/* The same, 64-byte aligned: for vectors that a library reads with aligned loads (oneDNN's biases). */
leco_status weight_aligned(weight *w, dtype type, const void **data, leco_error *err);
/* Frees all variants. */
void weight_release(weight *w);
size_t weight_variant_bytes(const weight *w);

#endif
