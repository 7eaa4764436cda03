/* Where the latents of training come from: a denoising run with the adapter on, of which some states are kept. */
#ifndef LECO_TRAIN_TRAJECTORY_H
#define LECO_TRAIN_TRAJECTORY_H

#include "diffusion/guidance.h"
#include "train/config.h"

typedef struct trajectory {
    size_t prompt;       /* index of the pair */
    int64_t jitter;      /* added to all timesteps */
    size_t kept_count;   /* samples_per_trajectory */
    const int64_t *kept; /* [kept_count] steps done before each kept latent, ascending */
} trajectory;

/* The fewest denoising steps before a latent is kept: 0, and 1 in compatibility mode. */
int64_t trajectory_first_step(const train_config *config);

/* Draws the pair, the kept steps and the jitter, in this order (facts.md, "Parity with P", 3): one word for the pair,
 * one for each kept step, one for the jitter where it is on; the caller draws the noise next. Steps come from
 * [0, denoising_steps), in compatibility mode from [1, denoising_steps) as P does; several are distinct. kept
 * [samples_per_trajectory] is the caller's. The jitter lies in [0, jitter_range): see denoising_jitter_range. */
trajectory trajectory_draw(rng *r, const train_config *config, int64_t jitter_range, int64_t *kept);

/* The timestep that teacher and student are told for a latent that has been denoised `done` steps. */
double trajectory_timestep(const denoising *run, timestep_compat compat, int64_t done);

/* Follows a run that has begun: denoises x [B,h,w,C] as far as the last kept step and puts the kept latents, as the
 * model knows them (x_t), into kept [kept_count, B,h,w,C]. `denoised` (may be NULL) is called after each step; false
 * ends the run, and the result is false. */
bool trajectory_run(guided *g, denoising *run, const trajectory *plan, float *x, float *kept,
                    bool (*denoised)(void *user), void *user);

#endif
