/* What a trainable is, for src/model/trainable*.c and adapter*.c only. */
#ifndef LECO_MODEL_TRAINABLE_INTERNAL_H
#define LECO_MODEL_TRAINABLE_INTERNAL_H

#include "format/safetensors.h"
#include "model/kinds.h"

struct trainable {
    dtype exact;
    bool trained;
    void *values, *grads; /* [count] of the exact dtype; grads is NULL in a loaded one */
    size_t count;
    weight buffer;   /* the values, as devices take them */
    void *originals; /* of a loaded one: the multiplied params as in the file, one after the other */
    size_t original_count;
    param *params;
    void **original; /* [param_count] into originals; NULL where there is none */
    size_t param_count;
    trainable_module *modules;
    size_t module_count;
    size_t *by_path; /* indices into modules, ordered by part, then path */
    dropout_rates dropout;
    char *start_from; /* until it has started; NULL: from the kind's values */
};

/* How one is made: begin (`trained`: with gradients; else with originals), put each module, then trainable_finish,
 * which gives them names and shapes, and trainable_take, which gives them memory, of zeros. After any failure
 * trainable_destroy. */
leco_status trainable_begin(size_t modules, bool trained, dtype exact, trainable **out, leco_error *err);
/* Of *m kind, layer, rank, alpha, rows and columns count. */
leco_status trainable_put(trainable *t, size_t index, const trainable_module *m, leco_error *err);
leco_status trainable_finish(trainable *t, leco_error *err);
leco_status trainable_take(trainable *t, leco_error *err);

int trainable_compare(model_part part, const char *path, const trainable_module *m); /* the order of by_path */

/* Converts the tensor of the file `path` into out [e->count]; whole numbers, and values that aren't finite, are
 * LECO_FORMAT. */
leco_status trainable_read_values(const char *path, const safetensors_entry *e, void *out, dtype type, leco_error *err);

#endif
