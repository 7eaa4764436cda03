/* What a trainer is, for src/train/trainer*.c and train_run.c only. */
#ifndef LECO_TRAIN_TRAINER_INTERNAL_H
#define LECO_TRAIN_TRAINER_INTERNAL_H

#include "train/lesson.h"
#include "train/optimizer.h"
#include "train/trainer.h"

struct trainer {
    const train_config *config;
    objective_list objectives;
    arena *memory; /* of the objectives; NULL where they are the caller's */
    device device;
    frozen_model *frozen; /* [frozen_count]; the first is the one that is trained */
    size_t frozen_count;
    rng rng;
    trainable *trainable;
    adapter_use *given; /* [given.count of pool] loaded embeddings */
    optimizer *optimizer;
    denoiser_pool pool;
    photo_encoder photos; /* until the U-Net comes */
    lesson *lessons;      /* one an objective */
    /* What the text encoders' phase takes of the workspace, and all in all: as planned, and when it was over. */
    size_t text_arena_bytes, planned_encoding_bytes, encoding_bytes;
    size_t largest, largest_kept; /* floats of the largest objective's latents; with all views of its source */
    float *x, *kept;              /* [largest], [samples_per_trajectory, largest_kept] */
    float *noise, *scratch;
    int64_t *kept_steps; /* [samples_per_trajectory] */
    float *sum;          /* [trainable_count] of gradients; NULL where all objectives have one branch */
};

/* Plans the text encoder of a frozen model and notes all prompts that the objectives ask it with: those are encoded
 * ahead, and the encoder is gone before the U-Net comes. Where wildcards make them so many that their states would take
 * more than the encoder, it stays, and encodes what is drawn. */
leco_status trainer_plan_texts(trainer *t, size_t which, leco_error *err);
leco_status trainer_encode_texts(trainer *t, size_t which, leco_error *err);
/* Does a frozen model's text encoder stay? Where it encodes what is drawn, and where what is trained reaches into it.
 */
bool trainer_keeps_encoder(const trainer *t, size_t which);

/* What turning photographs into latents takes is planned, and added to what is there before the U-Net comes. */
void trainer_plan_photos(trainer *t);
/* Turns all photographs of the lessons into latents; the VAE is gone afterwards. */
leco_status trainer_encode_photos(trainer *t, leco_error *err);

bool trainer_has_sums(const trainer *t); /* is there an objective of several branches? */
/* Of the buffers that belong to no lesson. */
size_t trainer_buffer_bytes(const trainer *t);

#endif
