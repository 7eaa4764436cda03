/* All that training on one prompt pair runs: three U-Nets and the texts they see.
 *
 *     generate  adapter on, batch 2 (guidance)      makes x_t
 *     teacher   no adapter, one sample a term       frozen predictions, batched
 *     student   adapter on, with loss and gradients
 *
 * Pairs of the same size share sessions through a pool. */
#ifndef LECO_TRAIN_STAGE_H
#define LECO_TRAIN_STAGE_H

#include "diffusion/conditioning.h"
#include "train/terms.h"
#include "train/trajectory.h"

/* Sessions by what they are built for. Zero-initialise; the members are set by the owner before stage_create. */
typedef struct denoiser_pool {
    const device *device;
    const model *model;
    trainable *trainable;
    int64_t tokens;
    struct pooled_denoiser *entry;
    size_t count;
} denoiser_pool;

void denoiser_pool_free(denoiser_pool *pool);
size_t denoiser_pool_arena_bytes(const denoiser_pool *pool); /* the largest arena of all */
size_t denoiser_pool_bytes(const denoiser_pool *pool);       /* of all graphs and sessions */

typedef struct stage {
    latent_size size;
    term_list terms;
    denoiser *teacher, *student; /* borrowed from the pool */
    guided generate;
    denoising *run;                                           /* of a trajectory */
    conditioning target, unconditional, term_text[TERMS_MAX]; /* texts borrowed from the conditioner */
    float *input, *predictions;                               /* [terms, B,h,w,C] for the teacher */
    float *wanted;                                            /* [B,h,w,C] */
} stage;

/* size: of the pair's latents; the texts must be in the conditioner, or its encoder still there. */
leco_status stage_create(denoiser_pool *pool, conditioner *texts, const train_config *config, size_t prompt,
                         latent_size size, const noise_schedule *schedule, stage *out, leco_error *err);
void stage_free(stage *s); /* safe on a zeroed one */
size_t stage_bytes(const stage *s);

/* Puts the pair's texts before the shared sessions; call when another pair may have run. */
void stage_begin(stage *s);

/* Teacher and student at one noisy latent x [B,h,w,C]: fills the gradients of the adapter and returns the loss. */
double stage_learn(stage *s, const float *x, double timestep);

#endif
