/* Denoising from noise towards a prompt, of which some states are kept: what the row source_trajectory does. */
#ifndef LECO_TRAIN_TRAJECTORY_H
#define LECO_TRAIN_TRAJECTORY_H

#include "diffusion/guidance.h"
#include "train/source.h"

/* Denoising steps before a latent that may be kept: from `first` to below `end`. */
typedef struct step_range {
    int64_t first, end;
} step_range;

/* Draws the kept steps and the jitter, in this order: one word for each kept step, one for the jitter where it is on.
 * Several steps are distinct. kept [samples_per_trajectory] is the caller's. The jitter lies in [0, jitter_range): see
 * denoising_jitter_range. */
source_pass trajectory_draw(rng *r, const train_config *config, step_range from, int64_t jitter_range, int64_t *kept);

/* How trajectories are denoised. */
sampling trajectory_sampling(const train_config *config);

/* The timestep that teacher and student are told for a latent that has been denoised `done` steps. */
double trajectory_timestep(const denoising *run, timestep_compat compat, int64_t done);

#endif
