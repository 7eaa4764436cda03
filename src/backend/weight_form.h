/* Frozen weights in the dtype and layout that kernels want. Kernels, and graphs, that agree on a form's key share it.
 *
 * A plan only wants a form (so that its size is known); preparing takes memory and fills it. */
#ifndef LECO_BACKEND_WEIGHT_FORM_H
#define LECO_BACKEND_WEIGHT_FORM_H

#include "backend/memory.h"
#include "graph/weight.h"

typedef struct weight_form {
    struct weight_form *next;
    const device_memory *memory;
    size_t bytes;
    void *data;       /* NULL until it is taken */
    uint64_t version; /* of the weight that it was filled from */
    bool plain;       /* made by weight_want_plain */
    dtype type;       /* of a plain one */
    size_t key_size;
    unsigned char key[];
} weight_form;

/* The form with this key in that memory: one that is wanted already, or a new one. It is the weight's. */
leco_status weight_want(weight *w, const device_memory *m, const void *key, size_t key_size, size_t bytes,
                        weight_form **out, leco_error *err);
/* The data in row-major order as `type`, at a multiple of `alignment`. *out is NULL where the file's own data will do:
 * in host memory, where dtype and alignment are right. */
leco_status weight_want_plain(weight *w, const device_memory *m, dtype type, size_t alignment, weight_form **out,
                              leco_error *err);

/* Takes a wanted form's memory, for the caller to fill. */
leco_status weight_take(const weight *w, weight_form *f, leco_error *err);
void weight_give_back(weight_form *f); /* where filling it failed: it is only wanted again */
/* Takes and fills a plain form, if that isn't done, or was done before the weight changed. */
leco_status weight_fill(const weight *w, weight_form *f, leco_error *err);

/* Frees all forms: no session over them may be left. */
void weight_release(weight *w);
size_t weight_wanted_bytes(const weight *w); /* of all forms */
size_t weight_taken_bytes(const weight *w);  /* of those that have memory */

#endif
