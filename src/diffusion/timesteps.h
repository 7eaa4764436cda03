/* The timesteps that a sampler visits, and sigmas: the noise of x_t in units of its signal.
 *
 *     sigma_t = sqrt((1 - a_t) / a_t)
 *
 * Numbers are those of diffusers' schedulers. */
#ifndef LECO_DIFFUSION_TIMESTEPS_H
#define LECO_DIFFUSION_TIMESTEPS_H

#include "diffusion/schedule.h"

/* How a sampler's steps lie on the schedule of T timesteps. */
typedef enum timestep_grid {
    GRID_WHOLE,   /* on whole timesteps: DDIM, DDPM */
    GRID_BETWEEN, /* between them, too: samplers in sigma's space */
    GRID_OPEN     /* as if there was one step more, at the least noise, which is left out: multistep solvers */
} timestep_grid;

/* timestep [steps], falling; with n = steps, or one more on an open grid,
 *
 *     leading    timestep[i] = (n - 1 - i) * (T / n) + steps_offset,   T / n rounded down
 *     linspace   n from T - 1 down to 0, evenly
 *     trailing   timestep[i] = round(T - i * T / steps) - 1
 *
 * 1 <= steps <= T. Timesteps that pass the schedule's end, or are visited twice, are LECO_INVALID. */
leco_status schedule_timesteps(const noise_schedule *s, timestep_spacing spacing, timestep_grid grid, int64_t steps,
                               double *timestep, leco_error *err);

/* Sigma at a timestep, linear between two. Where alpha-bar is 0, it is taken for 2^-24. */
float schedule_sigma(const noise_schedule *s, double timestep);
/* The timestep of a sigma, linear in the logarithm between two; the nearest end where it has none. */
double schedule_timestep_of(const noise_schedule *s, double sigma);

/* Sigmas between two timesteps, the seventh roots evenly: sigma [steps], falling, and their timesteps. Source: Karras
 * et al., "Elucidating the design space of diffusion-based generative models" (2022), equation 5 with rho = 7. */
void schedule_karras(const noise_schedule *s, double first, double last, int64_t steps, float *sigma, double *timestep);

/* "leading", "linspace" or "trailing"; NULL of SPACING_UNSAID. */
const char *spacing_name(timestep_spacing spacing);
/* LECO_INVALID of another name, with those that there are. */
leco_status spacing_parse(const char *name, timestep_spacing *out, leco_error *err);

#endif
