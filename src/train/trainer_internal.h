/* What a trainer is, for src/train/trainer*.c and train_run.c only. */
#ifndef LECO_TRAIN_TRAINER_INTERNAL_H
#define LECO_TRAIN_TRAINER_INTERNAL_H

#include "train/lesson.h"
#include "train/observer.h"
#include "train/optimizer.h"
#include "train/state.h"
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
    observer observer;    /* of trainings of a config; zero otherwise */
    step_figures figures; /* of the last step */
    /* What the text encoders' phase takes of the workspace, and all in all: as planned, and when it was over. */
    size_t text_arena_bytes, planned_encoding_bytes, encoding_bytes;
    size_t largest, largest_kept; /* floats of the largest objective's latents; with all views of its source */
    float *x, *kept;              /* [largest], [samples_per_trajectory, largest_kept] */
    float *noise, *scratch;
    int64_t *kept_steps; /* [samples_per_trajectory] */
    float *sum;          /* [trainable_count] of gradients; NULL where all objectives have one branch */
    /* Gradients of latents since the last optimizer step, added up; NULL where each latent makes a step. */
    float *gathered; /* [trainable_count] */
    int64_t gathered_count;
    double gathered_loss, loss; /* sum since the last step; mean of the last step's */
    float *average;             /* [trainable_count] of ema_decay; NULL: none is wanted */
    float *aside; /* [trainable_count] what is trained, while trainer_show shows an average; NULL: it never does */
    bool shown;
    loss_scale scale; /* changes only where the precision is float16 */
    char (
        *contents)[DIGEST_TEXT]; /* [frozen_count + 1] what tells models and pictures from others; "": not known yet */
    char *resumed_from;          /* the file of the state below, or NULL: it begins anew */
    train_state resumed;         /* until the run begins */
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

/* All that must be the same where a state is gone on from, as far as it is known by now. Release with settings_free. */
leco_status trainer_describe(const trainer *t, setting_list *out, leco_error *err);
/* What is in the models' files, as long as the text encoders are there, and in the photographs, when they are encoded,
 * becomes known. It must be what it was. */
leco_status trainer_know_models(trainer *t, leco_error *err);
leco_status trainer_know_photos(trainer *t, leco_error *err);

/* Writes a state, of which the run's part is filled in: this adds what optimizer and adapter are, and the latents of
 * the pass in progress (none where s->learnt is 0). */
leco_status trainer_write_state(trainer *t, const source_pass *pass, train_state *s, const char *path, leco_error *err);
/* The other way: optimizer and adapter become what they were. */
void trainer_restore(trainer *t);

/* Makes a pass that was drawn the one that is learnt from, but for its latents; makes these; and trains on those from
 * `first` to below `end`. */
leco_status trainer_choose(trainer *t, const source_pass *pass, leco_error *err);
leco_status trainer_make_latents(trainer *t, const source_pass *pass, const float *noise, const train_watch *w,
                                 leco_error *err);
leco_status trainer_learn_all(trainer *t, const source_pass *pass, size_t first, size_t end, double *losses,
                              const train_watch *w, leco_error *err);

/* Takes a latent's gradients: as many as the config wants make a step of the optimizer. */
void trainer_step(trainer *t, gradients_of_step g, double loss);

bool trainer_has_average(const train_config *c); /* is what is saved an average? */
bool trainer_has_sums(const trainer *t);         /* is there an objective of several branches? */
double gradients_norm(const gradients_of_step *g, size_t count);
/* Fill in t->figures, but for loss and seconds: of each latent, and of the step that they make, before the optimizer's.
 */
void trainer_note_latent(trainer *t, const source_pass *pass, size_t index);
void trainer_note_step(trainer *t, const gradients_of_step *g, double lr);

size_t trainer_arena_bytes(const trainer *t); /* that all sessions share; as planned */
/* Of the buffers that belong to no lesson. */
size_t trainer_buffer_bytes(const trainer *t);

#endif
