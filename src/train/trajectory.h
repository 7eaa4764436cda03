/* Denoising from noise towards a prompt, of which some states are kept: what the row source_trajectory does. */
#ifndef LECO_TRAIN_TRAJECTORY_H
#define LECO_TRAIN_TRAJECTORY_H

#include "diffusion/guidance.h"
#include "train/source.h"

/* The fewest denoising steps before a latent is kept: 0, and 1 in compatibility mode. */
int64_t trajectory_first_step(const train_config *config);

/* Draws the kept steps and the jitter, in this order: one word for each kept step, one for the jitter where it is on.
 * Steps come from [0, steps), the runs of the model, in compatibility mode from [1, steps) as p1atdev's trainer has it
 * (docs/peers.md); several are distinct. kept [samples_per_trajectory] is the caller's. The jitter lies in
 * [0, jitter_range): see denoising_jitter_range. */
source_pass trajectory_draw(rng *r, const train_config *config, int64_t steps, int64_t jitter_range, int64_t *kept);

/* How trajectories are denoised. */
sampling trajectory_sampling(const train_config *config);

/* The timestep that teacher and student are told for a latent that has been denoised `done` steps. */
double trajectory_timestep(const denoising *run, timestep_compat compat, int64_t done);

#endif
