/* Where the noisy latents of training come from. Each source is a row.
 *
 *     trajectory  denoises from noise towards a prompt, with guidance, and keeps x_t at some of its steps. What
 * denoises is in the objective's source_spec: the student (multiplier 1), the frozen model (multiplier 0), or another
 * model's frozen one (model 1): an entry of a config may ask for each of them
 *
 *     photographs draws one of its pictures for each latent of the batch, and timesteps from all that there are; x_t is
 * sqrt(a) clean + sqrt(1 - a) noise. Of pairs there are two views: both pictures, with the same noise
 *
 *     noise       no trajectory: the noise itself, at timesteps from all that there are
 *
 * A source is created first, which plans its sessions; prepared when these are, and when prompts are encoded.
 *
 * A pass is drawn first (everything but the noise, which the trainer draws after it), then made. */
#ifndef LECO_TRAIN_SOURCE_H
#define LECO_TRAIN_SOURCE_H

#include "base/digest.h"
#include "diffusion/sampler.h"
#include "train/config.h"
#include "train/denoiser_pool.h"
#include "train/objective.h"
#include "train/photo_encoder.h"
#include "train/phrases.h"

/* What is drawn of one pass over an objective. */
typedef struct source_pass {
    size_t objective;  /* its index */
    size_t source;     /* which of the objective's: 0, or 1 for `also` */
    int64_t jitter;    /* added to all timesteps */
    size_t kept_count; /* latents to be made: an optimizer step each */
    /* [kept_count] a trajectory's: steps done before each kept latent, ascending; of others the timesteps */
    const int64_t *kept;
    const int64_t *pictures; /* [B] of photographs: which one each latent of the batch is */
} source_pass;

/* What objectives of a run share; everything is borrowed. */
typedef struct training_setting {
    const train_config *config;
    const frozen_model *frozen; /* [frozen_count] */
    size_t frozen_count;
    denoiser_pool *pool;
    phrases *phrases;      /* of the objective that is being prepared */
    photo_encoder *photos; /* what turns photographs into latents, before the U-Net comes */
} training_setting;

/* A source at work: a row's own struct begins with this. */
typedef struct source {
    const source_row *row;
    latent_size size;
    size_t views; /* latents at each kept step: 1, or 2 */
} source;

/* Called after each denoising step; false stops. `denoised` may be NULL. */
typedef struct source_watch {
    bool (*denoised)(void *user);
    void *user;
} source_watch;

struct source_row {
    const char *name;
    leco_status (*create)(const training_setting *in, const source_spec *spec, latent_size size, source **out,
                          leco_error *err);
    /* Takes the memory that `bytes` says. */
    leco_status (*prepare)(source *s, const training_setting *in, leco_error *err);
    void (*destroy)(source *s);
    size_t (*bytes)(const source *s); /* as planned */
    /* Draws jitter and kept [samples_per_trajectory], which is the caller's. */
    source_pass (*draw)(const source *s, rng *r, int64_t *kept);
    /* Makes the pass's latents, as the model knows them (x_t), into kept [kept_count, views, B,h,w,C]. noise [B,h,w,C]
     * is overwritten; r is for samplers that add noise. LECO_INTERRUPTED where the watch said no. */
    leco_status (*run)(source *s, const source_pass *pass, rng *r, float *noise, float *kept, const source_watch *watch,
                       leco_error *err);
    /* Instead of run, where the pass's latents are there already: leaves s as run does. */
    void (*again)(source *s, const source_pass *pass, rng *r, const float *noise);
    /* The timestep of a latent by the trained model's schedule. */
    double (*timestep)(const source *s, int64_t kept);
    /* Denoising steps of a pass; of NULL: of passes to come, on average. */
    double (*steps)(const source *s, const source_pass *pass);

    /* Those of photographs alone; NULL of others. */
    /* Turns all of its pictures into latents, and how many bytes these take. Before prepare. */
    leco_status (*encode)(source *s, photo_encoder *e, leco_error *err);
    size_t (*encoded_bytes)(const source *s);
    /* Adds what tells its pictures from others, once they are encoded. */
    void (*tell_apart)(const source *s, digest *d);
    /* Before the lesson's phrases are resolved: makes them those of the pass's pictures. */
    void (*choose)(source *s, const source_pass *pass);
    /* The prompt of a latent of the batch, as chosen. */
    const conditioning *(*text)(const source *s, size_t sample);
    /* target [B,h,w,C] += the noise in the latents kept at that place, as the trained model would predict it. */
    void (*add_noise)(const source *s, int64_t kept, size_t view, float *target);
};

/* Of sources that denoise nothing: what is kept is the timestep itself, and there are no steps. */
double source_timestep_kept(const source *s, int64_t kept);
double source_no_steps(const source *s, const source_pass *pass);

extern const source_row source_trajectory, source_photographs, source_noise;

/* A conditioning for pictures of that size by one of the frozen models, whose encoder or states must be there: for
 * preparing, not for plans. *out stays where it is: it follows the choices of the prompt's wildcards. */
leco_status setting_condition(const training_setting *in, size_t which, const char *prompt, latent_size size,
                              conditioning *out, leco_error *err);
/* The same of one of several texts: phrases_add_any. */
leco_status setting_condition_any(const training_setting *in, size_t which, const char *const *prompts, size_t count,
                                  latent_size size, conditioning *out, size_t *slot, leco_error *err);
/* The timesteps that the config lets be trained, of those that the trained model has: from *first to below *end. None
 * is LECO_INVALID. */
leco_status setting_timesteps(const training_setting *in, int64_t *first, int64_t *end, leco_error *err);
/* A session of one of the frozen models, planned. */
leco_status setting_denoiser(const training_setting *in, size_t which, latent_size size, double multiplier, bool learns,
                             denoiser **out, leco_error *err);

#endif
