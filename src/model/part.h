/* The parts of a model: a row each, in the order of model_part. What loads, checks, names and runs parts goes by these.
 */
#ifndef LECO_MODEL_PART_H
#define LECO_MODEL_PART_H

#include "model/model.h"

typedef struct part_row {
    const char *name;         /* of its folder in a model's */
    const char *lora_prefix;  /* of its layers' keys in LoRA files; NULL: adapters don't attach to it */
    const char *first_prefix; /* where it is the first of two; NULL: it never is */
    const char *rows;         /* the tensor that an embedding of its tokens is saved as; NULL: it has no tokens */
    const char *first_rows;   /* likewise */
    leco_status (*read)(const char *folder, model *m, leco_error *err); /* its config.json, into m */
    void (*build)(nn *c, const model *m); /* all of it once, small, so that each of its tensors is asked for */
} part_row;

extern const part_row part_rows[PART_COUNT];

#endif
