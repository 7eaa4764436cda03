/* What a set of weights is, for src/model/weights*.c only. */
#ifndef LECO_MODEL_WEIGHTS_INTERNAL_H
#define LECO_MODEL_WEIGHTS_INTERNAL_H

#include "format/safetensors.h"
#include "model/weights.h"

typedef struct weights_slot {
    weight w;                      /* w.data is NULL where no layer can use the tensor, or before it is asked for: */
    const safetensors_entry *from; /* the tensor in the file */
    int64_t third;                 /* as in weights_add */
    bool transposed;
    double scale; /* times the tensor's values (weights_find_scale); 0: nobody has looked */
    void *own;    /* a copy in another form than the file's; mem_aligned */
    bool used;
} weights_slot;

/* Data shared by all random weights of one sort. */
typedef struct weights_pool {
    bf16 *data;
    size_t count;
} weights_pool;

typedef enum weights_pool_kind { POOL_NOISE, POOL_ONES, POOL_ZEROS, POOL_COUNT } weights_pool_kind;

/* What weights_constant made. */
typedef struct weights_own {
    weight w;
    struct weights_own *next;
    float value[];
} weights_own;

struct weights {
    safetensors *file; /* NULL: random or blank */
    bool borrowed;     /* the file is */
    bool random;
    bool narrow; /* weights_narrow */
    uint64_t seed;
    weights_slot **slots; /* by name */
    size_t count, capacity;
    weights_pool pools[POOL_COUNT];
    weights_own *constants;
};

/* The position of `name`, or where it would be inserted. */
size_t weights_locate(const weights *w, const char *name, bool *found);
/* Appends a slot for `name`, which is copied, at position `at`. NULL: out of memory. */
weights_slot *weights_insert(weights *w, size_t at, const char *name);

/* A weight of a random or blank set (weights_random.c). */
leco_status weights_make_up(weights *w, const char *name, shape s, size_t at, weight **out, leco_error *err);

/* ---- forms (weights_form.c) ---- */

/* Makes what the slot's tensor is for layers: its shape, its type, and its data where they can be used as they lie. */
void weights_describe(weights_slot *s);
/* Looks for the number beside the tensor that its values are to be multiplied by, as ComfyUI stores weights of eight
 * bits: "NAME.scale_weight", in newer files "NAME.weight_scale". Then the slot's weights are float. More numbers than
 * one are LECO_UNSUPPORTED. */
leco_status weights_find_scale(const weights *w, weights_slot *s, leco_error *err);
/* Where that isn't so, the copy that can. LECO_OK without data: of no use to any layer. */
leco_status weights_copy(weights_slot *s, leco_error *err);

#endif
