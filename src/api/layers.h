/* What joining LoRAs, extracting and solving one share: what is written of how it went, and checks of what is asked. */
#ifndef LECO_API_LAYERS_H
#define LECO_API_LAYERS_H

#include "leco/leco.h"
#include "model/model.h"
#include "model/trainable.h"
#include "solve/thin.h"
#include "solve/work.h"

/* Somebody's callback, and what the work is called. */
typedef struct layers_progress {
    const char *what;
    leco_progress_callback progress;
    void *user;
} layers_progress;

/* Work that reports to p, which outlives it. */
work layers_work(layers_progress *p);

/* The type that tensors are to be saved in; NULL: float16. */
leco_status layers_precision(const char *name, dtype *out, leco_error *err);

/* Refuses an output that is the same file as one of the inputs, or that can't be written. */
leco_status layers_check_output(const char *out, const char *const *inputs, size_t count, leco_error *err);

/* "red" of "out/red.safetensors", with what isn't UTF-8 replaced; mem_free it; NULL: out of memory. */
char *layers_stem(const char *path);

/* Saves what was computed, with how it was: `metadata` without name and date, which come from path and clock. */
leco_status layers_save(const trainable *t, const char *path, dtype type, const trainable_metadata *metadata,
                        leco_error *err);

/* Says of the work what the public report does. */
leco_status layers_report(const thin_report *from, double seconds, leco_merge_report *to, leco_error *err);

#endif
