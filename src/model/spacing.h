/* How a run's steps lie on the timesteps of a noise schedule: diffusion/timesteps.h. */
#ifndef LECO_MODEL_SPACING_H
#define LECO_MODEL_SPACING_H

typedef enum timestep_spacing { SPACING_UNSAID, SPACING_LEADING, SPACING_LINSPACE, SPACING_TRAILING } timestep_spacing;

#endif
