/* A model as it lies on disk: a diffusers folder with its configs, weights, tokenizer and noise schedule, or a
 * checkpoint in one file (model/checkpoint.h).
 *
 *     model *m;
 *     LECO_TRY(model_open("models/shapes", &m, err));
 *     LECO_TRY(model_load(m, MODEL_TEXT_ENCODER | MODEL_UNET, err));
 *     ...build graphs over m->weights[PART_UNET]...
 *     model_close(m); */
#ifndef LECO_MODEL_MODEL_H
#define LECO_MODEL_MODEL_H

#include "model/layers.h"
#include "model/spacing.h"
#include "model/text_encoder.h"
#include "model/tokenizer.h"
#include "model/unet.h"
#include "model/vae.h"
#include "model/weights.h"

typedef enum beta_schedule { BETA_SCALED_LINEAR, BETA_LINEAR } beta_schedule;
typedef enum prediction { PREDICT_EPSILON, PREDICT_V } prediction;

enum { SCHEDULE_MAX_TIMESTEPS = 100000 };

/* scheduler/scheduler_config.json of whatever class, as diffusers' DDIMScheduler.from_config reads it. */
typedef struct schedule_config {
    int64_t train_timesteps;
    double beta_start, beta_end;
    beta_schedule beta;
    prediction prediction;
    int64_t steps_offset;
    bool set_alpha_to_one;
    bool zero_terminal_snr;   /* rescale_betas_zero_snr */
    timestep_spacing spacing; /* these two are what the folder asks of a sampler that draws: */
    bool clip_sample;         /* leco's never clip */
} schedule_config;

leco_status schedule_config_read(const char *folder, schedule_config *config, leco_error *err);

/* Sets of parts, for model_load; those that the model lacks don't matter. */
enum {
    MODEL_UNET = 1 << PART_UNET,
    MODEL_TEXT_ENCODER = 1 << PART_TEXT_ENCODER | 1 << PART_TEXT_ENCODER_2, /* both, where there are two */
    MODEL_VAE = 1 << PART_VAE,
    MODEL_ALL = (1 << PART_COUNT) - 1
};

typedef struct model {
    const struct family *family;  /* a row of family.h's */
    char *folder;                 /* as model_open found it; the preset's name otherwise */
    struct safetensors *file;     /* of a checkpoint in one file; else NULL */
    struct safetensors *vae_file; /* of a VAE from elsewhere (model_take_vae), ... */
    char *vae_path;               /* ... or where it is under diffusers' names; else NULL */
    bool lacks_vae;               /* a model without one: its config is the family's */
    bool prediction_told;         /* do the files say what it predicts? Else it is what its family does */
    text_config text;
    text_config text_2; /* of SDXL; zero elsewhere */
    unet_config unet;
    vae_config vae;
    schedule_config schedule;
    int64_t clip_skip;             /* of model_skip_layers; 0: nobody asked */
    bool narrow;                   /* matrices of U-Net and text encoders are kept as int8 where kernels can */
    bool zeros_for_none;           /* no negative prompt is zeros, as SDXL was trained; else the same as "" */
    text_options states;           /* the text states that its U-Net is given: the family's, or of fewer layers */
    tokenizer *tokenizer;          /* NULL in a preset */
    tokenizer *tokenizer_2;        /* of the second text encoder */
    int64_t added_vectors;         /* of model_add_token */
    weights *weights[PART_COUNT];  /* NULL until model_map */
    bool checked[PART_COUNT];      /* their values, by model_load */
    layer_list layers[PART_COUNT]; /* empty until model_layers */
    layer_list norms[PART_COUNT];  /* likewise */
} model;

/* path may also be a model's name in the cache of Hugging Face's programs, or a folder that holds one checkpoint
 * (model/model_place.h). Reads model_index.json, all
 * configs and the tokenizer of a folder, or the names in a checkpoint. A missing file, or a
 * pipeline that isn't supported (another class), is named. On failure *out is NULL. */
leco_status model_open(const char *path, model **out, leco_error *err);

/* Takes the VAE from elsewhere: a folder of one, a model's folder, or a file with the original names, with or without
 * the beginning that they have in a checkpoint; by a name in Hugging Face's cache, too. To be called before any part is
 * mapped. */
leco_status model_take_vae(model *m, const char *path, leco_error *err);

/* What it predicts, where somebody says it: v is 1 or 0, or -1 for nobody. Then a file that contradicts itself is
 * LECO_INVALID; `remedy` is the message's end, how to say it. */
leco_status model_predict(model *m, int v, const char *remedy, leco_error *err);

/* Leaves out last layers of the text encoders, as A1111 counts: 2 the last one; 0 and 1 none. A family that leaves out
 * as many anyway (SDXL: one) stays as it is. More than there are is LECO_INVALID. */
leco_status model_skip_layers(model *m, int64_t clip_skip, leco_error *err);

/* A full-size model with random weights, without files: "sd15", "sd21", "sdxl". */
leco_status model_preset(const char *name, model **out, leco_error *err);

/* Does the model have this part? */
bool model_has(const model *m, model_part part);

/* The text encoders of a model, one or two. */
typedef struct text_part {
    model_part part;
    const text_config *config;
    const tokenizer *tokenizer; /* NULL in a preset */
} text_part;
enum { MODEL_MOST_TEXTS = 2 };
size_t model_texts(const model *m, text_part out[MODEL_MOST_TEXTS]);
/* Numbers of a token's state: of all encoders, side by side. */
int64_t model_text_width(const model *m);
/* Sums what `count` says of the weights of all that are open. */
size_t model_text_bytes(const model *m, size_t (*count)(const weights *w));
/* Closes weights and tokenizers of all. */
void model_unload_texts(model *m);

/* Opens the weights of the named parts that aren't open yet: all tensors that the module uses are there and have the
 * right shapes. Reads the file's header only: that is enough for plans. */
leco_status model_map(model *m, int parts, leco_error *err);
/* The same, and checks that the values are finite: they are ready for use. */
leco_status model_load(model *m, int parts, leco_error *err);

/* Before anything is made of what was computed: are the files of all open parts as long as they were? */
leco_status model_unchanged(const model *m, leco_error *err);

/* Closes a part's weights; nothing that runs over them may be left. */
void model_unload(model *m, model_part part);

/* Makes a word of prompts the ids of an embedding of so many vectors, behind those of the text encoder's table: *first
 * and those that follow. A word that is a token already is LECO_INVALID. */
leco_status model_add_token(model *m, const char *token, int64_t vectors, int32_t *first, leco_error *err);
/* Another word for the same ids. */
leco_status model_name_token(model *m, const char *token, int32_t first, int64_t vectors, leco_error *err);

void model_close(model *m); /* NULL is fine */

#endif
