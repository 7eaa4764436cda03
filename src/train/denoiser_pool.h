/* The sessions of a training, by what they are built for: whoever needs the same shares one, and says before each run
 * what its samples are conditioned on. */
#ifndef LECO_TRAIN_DENOISER_POOL_H
#define LECO_TRAIN_DENOISER_POOL_H

#include "diffusion/denoiser.h"

/* Zero-initialise; the owner sets the members before the first denoiser_pool_get. What they point to is borrowed. Where
 * the trainable reaches a text encoder, sessions with it on have all of them built in. */
typedef struct denoiser_pool {
    const device *device;
    trainable *trainable;
    text_options text; /* of these */
    adapter_set given; /* embeddings that they have beside */
    double recompute;  /* of those that learn: denoiser_options.recompute, */
    bool huber;        /* and .huber */
    rng *dropout;      /* likewise; NULL: nothing is left out */
    loss_scale *scale; /* and .scale */
    struct pooled_denoiser *entry;
    size_t count;
} denoiser_pool;

typedef struct denoiser_wish {
    const model *model;
    int64_t tokens; /* of the text states */
    latent_size size;
    float multiplier; /* of the pool's trainable; 0: a graph without it */
    bool learns;      /* with loss and gradients */
} denoiser_wish;

/* One that is there or is planned now; the pool's. */
leco_status denoiser_pool_get(denoiser_pool *pool, const denoiser_wish *wish, denoiser **out, leco_error *err);

/* Takes what was planned for all of them. */
leco_status denoiser_pool_prepare(denoiser_pool *pool, leco_error *err);

void denoiser_pool_free(denoiser_pool *pool);
size_t denoiser_pool_arena_bytes(const denoiser_pool *pool); /* the largest arena of all; as planned, both */
size_t denoiser_pool_bytes(const denoiser_pool *pool);       /* of all graphs and sessions */

#endif
