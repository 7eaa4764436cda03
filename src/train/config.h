/* The file that describes a training run: p1atdev's config and prompts files (docs/peers.md), with a few keys of our
 * own. docs/config.md and `leco train --help-config` list every key, config_keys.c holds them. Keys and values that
 * p1atdev has and leco hasn't yet are refused by name. */
#ifndef LECO_TRAIN_CONFIG_H
#define LECO_TRAIN_CONFIG_H

#include "base/arena.h"
#include "base/dtype.h"
#include "model/kinds.h"
#include "model/spacing.h"
#include "train/config_logging.h"
#include "train/lr_schedule.h"
#include "train/optimizer.h"
#include "train/settings.h"

/* Whose denoising an entry's latents come from. */
typedef enum trajectory_choice {
    TRAJECTORY_STUDENT,
    TRAJECTORY_FROZEN,
    TRAJECTORY_TEACHER,
    TRAJECTORY_BOTH,
    TRAJECTORY_NONE
} trajectory_choice;

/* A frozen model besides the one that is trained. */
typedef struct teacher_config {
    const char *place, *name;   /* "a.yaml:3", "donor" */
    const char *key;            /* "teachers.donor.name_or_path" */
    const char *path, *written; /* found, and as the config has it */
    bool same_latents;
    int v_prediction;  /* as in train_config, */
    int64_t clip_skip; /* and this, too */
} teacher_config;

/* A term of an entry that spells them out. */
typedef struct train_term {
    double weight;
    const char *prompt, *teacher_name;
    size_t teacher; /* as in train_prompt */
} train_term;

typedef struct train_prompt {
    const char *place; /* "erase.yaml:7", for messages */
    bool concept;      /* it says a concept only: solve/concepts.h says the rest */
    const char *to;    /* and what comes in its place; or NULL */
    int64_t tickets;   /* as in objective */
    const char *target, *positive, *unconditional, *neutral; /* with wildcards */
    const char *attributes;                                  /* "{one|another}", or NULL */
    const char *erase_from;                                  /* as `target` and `neutral`, or NULL */
    const char *negative;                                    /* laksjdjf's name of `unconditional`, or NULL */
    const struct train_mode *action;                         /* train/modes.h */
    const char *teacher_name;                                /* NULL: none */
    size_t teacher; /* who predicts the terms: 0 the model itself, else one more than the teacher's index */
    trajectory_choice trajectory;
    train_term *term; /* of mode_terms */
    size_t term_count;
    double guidance_scale, trajectory_guidance_scale;
    int64_t width, height; /* pixels; 0: the model's own size */
    int64_t batch_size;
    double multiplier, weight; /* of the adapter in trajectory and student; of the loss */
    int64_t keep_above;        /* the timestep from which on nothing is to change; 0: it is everywhere */
    bool norm_match;
    bool dynamic_resolution;    /* sizes from half of height and width up to these */
    bool dynamic_crops;         /* of families that are told of crops: another one in each pass */
    const char *before, *after; /* folders of pictures, found; or both NULL */
} train_prompt;

/* Pictures to train on. */
typedef struct regularisation_config {
    const char *path; /* the folder, found; NULL: none */
    const char *prompt;
    double weight, share;
} regularisation_config;

typedef struct images_config {
    const char *place;
    const char *path;   /* the folder, found; NULL: none */
    const char *prompt; /* of pictures without caption; with wildcards; or NULL */
    int64_t repeats;
    int64_t width, height; /* pixels; 0: the model's own size */
    bool buckets;
    int64_t batch_size;
    double weight;
    double guidance_scale; /* of the pictures that will be drawn, 1 or more */
    regularisation_config regularisation;
} images_config;

/* What is to stay as the base model draws it. */
typedef struct preserve_config {
    const char *place;
    const char *prompt; /* with wildcards; NULL: nothing */
    double share, weight;
    int64_t width, height; /* pixels; 0: the model's own size */
    int64_t batch_size;
} preserve_config;

/* How a kept latent is told its timestep: rightly, or as p1atdev does (docs/peers.md, "Timesteps"). */
typedef enum timestep_compat { TIMESTEPS_RIGHT, TIMESTEPS_P1ATDEV } timestep_compat;

typedef enum train_loss { LOSS_MSE, LOSS_HUBER, LOSS_SMOOTH_L1 } train_loss;
typedef enum huber_schedule { HUBER_SNR, HUBER_EXPONENTIAL, HUBER_CONSTANT } huber_schedule;

typedef struct train_config {
    arena *memory; /* owns everything below */
    const char *path;
    const struct doc_node *root; /* all that the file and the overrides say; NULL: not read from a file */

    const char *model;         /* resolved */
    const char *model_written; /* as the config has it, */
    const char *model_place;   /* and where: "erase.yaml:3" */
    bool told_of_braces;       /* that mean nothing */
    bool in_working_directory; /* the model or the prompts_file were found there, not beside the config */
    int v2, v_prediction;      /* 0 or 1 as the config claims, -1: as the model's files say */
    const char *vae;           /* resolved; NULL: the model's own */
    bool int8;                 /* matrices of the models are kept as int8 */
    int64_t clip_skip;         /* A1111's count: 1 or 0 use all layers, 2 leaves the last one out */

    trainable_options network;
    const char *const *embeddings; /* [embedding_count] files whose words prompts may use; the caller's */
    size_t embedding_count;

    const char *precision;         /* "bfloat16", "float32", "float16", or NULL: what the machine likes best */
    const struct sampler *sampler; /* diffusion/sampler.h */
    int64_t iterations;            /* optimizer steps */
    double lr;
    double max_grad_norm;  /* 0: gradients stay as long as they are */
    double stop_at_effect; /* 0: it goes through whatever the effect is */
    lr_plan rates;
    optimizer_options optimizer;
    const char *optimizer_args; /* as written, or NULL; they are in `optimizer` */
    int64_t accumulation;       /* latents an optimizer step */
    double ema_decay;           /* 0: what is saved is what is trained */
    train_loss loss;
    double huber_c;
    huber_schedule huber_schedule;
    int64_t denoising_steps;
    timestep_spacing spacing; /* said, once it is read */
    bool karras;
    int64_t samples_per_trajectory;
    bool timestep_jitter;
    timestep_compat compat;
    int64_t min_timestep, max_timestep;  /* that are trained: from the one to below the other; 0: to the end */
    int64_t guidance_from, guidance_end; /* that are guided in trajectories: likewise */
    double min_snr_gamma;                /* 0: all timesteps weigh the same */
    uint64_t seed;
    double trajectory_guidance_scale;
    int64_t batch_size; /* of prompts that don't say */

    const char *save_name, *save_path; /* save_path is resolved */
    int64_t save_every;                /* 0: only at the end */
    int64_t keep_last;                 /* of the files saved on the way; 0: all */
    dtype save_precision;
    bool save_state, keep_state;

    bool verbose;
    logging_config logging;
    const char *prompts_file;  /* as written, or NULL */
    bool as_p1atdev;           /* there is one: what the config doesn't say is as p1atdev's trainer has it */
    const char *prompts_found; /* and where it was found */
    const char *attributes;    /* of entries that have none themselves, "{one|another}", or NULL */
    train_prompt *prompt;
    size_t prompt_count;
    preserve_config preserve;
    images_config images;
    teacher_config *teacher;
    size_t teacher_count;
} train_config;

/* Reads the file, applies the overrides ("section.key=value") and checks everything that can be checked without the
 * model. Errors name file and line (or the override), key, and the nearest known key. Release with train_config_free.
 */
leco_status train_config_read(const char *path, const char *const *overrides, size_t override_count, train_config *out,
                              leco_error *err);
/* LECO_IO: what `key` names, `written` in the config at that place, is neither at `path` nor in the working directory.
 */
leco_status train_config_missing(const char *place, const char *key, const char *path, const char *written,
                                 leco_error *err);
/* The same of a model, where it is nowhere: Hugging Face's cache is told of, too, where the name is such. */
leco_status train_config_check_place(const char *place, const char *key, const char *path, const char *written,
                                     leco_error *err);
void train_config_free(train_config *config); /* safe on a zeroed one */

/* For messages: where a key stands, "train.lr", or else its section: "erase.yaml:12", "--set train.lr=2"; the config's
 * path where neither is there. */
const char *train_config_place(const train_config *c, const char *key);

/* All keys as text, or as the tables of docs/config.md: keys_text. */
leco_status train_config_keys(bool markdown, char **text, leco_error *err);

/* Why an adapter can't start from a closed form, as network.init: erase asks for; NULL: it can. */
const char *train_config_closed_start(const trainable_options *n);

/* Adds all that decides what comes out of a training, "train.lr" and so on, but for what the run's files and machine
 * say: the contents of models and pictures, and the types that are computed in. */
leco_status train_config_describe(const train_config *c, setting_list *out, leco_error *err);

/* What the config claims about a model that has been opened: a wrong v_pred is LECO_INVALID, a wrong v2 a warning. */
struct model;
leco_status train_config_check_model(const train_config *config, const struct model *m, leco_error *err);

#endif
