/* Folding a file's tensors into others, for src/model/adapter_fold*.c only: the tools are in adapter_folding.c. */
#ifndef LECO_MODEL_ADAPTER_FOLD_H
#define LECO_MODEL_ADAPTER_FOLD_H

#include "model/adapter_open.h"
#include "model/rotation.h"

/* What is to be changed of a file. A tensor's name is its layer's, as long as its first `stem` bytes, and a suffix. */
typedef struct folding {
    safetensors *file;
    safetensors_change *change; /* [count] */
    size_t count, room, whole, bundled;
    leco_error *err;
    bool looked;           /* for what PEFT says of an OFT: */
    char *config_path;     /* for messages; NULL without config */
    struct json_t *config; /* NULL: there is none */
} folding;

/* The tensor of the same layer with that suffix: becomes these values, as safetensors_change has them; goes away. */
leco_status fold_add(folding *f, const char *name, size_t stem, const char *suffix, int rank, const int64_t *shape,
                     float *values);
leco_status fold_take_away(folding *f, const char *name, size_t stem, const char *suffix);
/* Changes the file, where nothing failed so far (status), and frees what was noted. Returns the first failure. */
leco_status fold_finish(folding *f, leco_status status);
/* The tensor beside it; NULL: there is none. */
const safetensors_entry *fold_beside(const folding *f, const char *name, size_t stem, const char *suffix);

/* LECO_FORMAT "FILE: tensor NAME: expected WHAT". */
leco_status fold_wrong(const folding *f, const safetensors_entry *e, const char *expected);
/* Is a tensor of that shape one that layers have? What a hostile file could ask for is bounded. */
leco_status fold_check_size(const folding *f, const safetensors_entry *of, const int64_t *shape, int rank);
/* Room for such a tensor's values, by mem_aligned, once its size is checked. */
leco_status fold_make_room(const folding *f, const safetensors_entry *of, const int64_t *shape, int rank, float **out);
/* The values as float; mem_free them. */
leco_status fold_values_of(const folding *f, const safetensors_entry *e, float **out);

/* Adds what the rotation changes, R - 1, of whose rows each is scaled by `rescale` (or NULL) first: beside e, with that
 * suffix. */
leco_status fold_rotation(folding *f, const safetensors_entry *e, size_t stem, const rotation *r, const float *rescale,
                          const char *suffix);
leco_status fold_oft(folding *f, const safetensors_entry *e, size_t stem); /* .oft_blocks */
leco_status fold_oft_diag(folding *f, const safetensors_entry *e, size_t stem);
/* PEFT's OFT and BOFT; other tensors stay. */
leco_status fold_peft(folding *f, const safetensors_entry *e, size_t stem);
void fold_peft_end(folding *f);

#endif
