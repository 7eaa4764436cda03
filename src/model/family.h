/* Families of models: what differs between them beside their configs, a row each. */
#ifndef LECO_MODEL_FAMILY_H
#define LECO_MODEL_FAMILY_H

#include "model/model.h"

typedef struct family {
    const char *name; /* "sd1" */
    bool (*is)(const model *m);
    /* What the files of adapters say that they are for, as sd-scripts does; by what the model predicts. */
    struct {
        const char *base_model_version; /* ss_base_model_version */
        const char *architecture;       /* modelspec.architecture, up to the slash */
    } saved[2];                         /* [PREDICT_EPSILON], [PREDICT_V] */
    const char *implementation;         /* modelspec.implementation */
    bool v2;                            /* what p1atdev's and sd-scripts' `v2` asks for */
    bool original_keys; /* LoRAs are saved under original checkpoints' names of blocks, as sd-scripts' */
    text_options text;  /* the text states that its U-Net is conditioned on */
} family;

/* The family whose `is` says so; there is always one. */
const family *family_of(const model *m);

/* The one whose adapters' files say so (ss_base_model_version); NULL: none. */
const family *family_saved_as(const char *base_model_version);

#endif
