/* The noise schedule of a diffusion model, and DDIM steps through it.
 *
 *     x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise,   a_t = product over s <= t of (1 - beta_s)   ("alpha-bar")
 *
 * Numbers are what diffusers' DDIMScheduler has, to the bit: betas and alpha-bar f32, arithmetic as torch does it.
 * Source: Song et al., "Denoising diffusion implicit models" (2021), equation 12 with eta = 0; Salimans and Ho,
 * "Progressive distillation" (2022) for v-prediction. */
#ifndef LECO_DIFFUSION_SCHEDULE_H
#define LECO_DIFFUSION_SCHEDULE_H

#include "model/model.h"

typedef struct noise_schedule {
    int64_t train_timesteps;
    prediction prediction;
    int64_t steps_offset;
    float final_alpha_bar; /* alpha-bar where a step leads below timestep 0 */
    float alpha_bar[];     /* [train_timesteps], falling */
} noise_schedule;

/* Owned by the caller (mem_free). Betas outside (0, 1), or timesteps outside [1, SCHEDULE_MAX_TIMESTEPS], are
 * LECO_INVALID. The config's spacing and clip_sample are a sampler's matter and not looked at. */
leco_status noise_schedule_create(const schedule_config *config, noise_schedule **out, leco_error *err);

/* The walk of `steps` denoising steps: step i is at timestep  base(i) + jitter,  base(i) = (steps - 1 - i) * stride +
 * steps_offset,  stride = train_timesteps / steps  ("leading" spacing). */
typedef struct ddim {
    const noise_schedule *schedule; /* borrowed */
    int64_t steps, stride, jitter;
} ddim;

/* steps outside [1, train_timesteps], or a jitter outside [0, ddim_jitter_range), is LECO_INVALID. */
leco_status ddim_start(const noise_schedule *schedule, int64_t steps, int64_t jitter, ddim *out, leco_error *err);

/* How many jitters are possible: the stride, less where the highest timestep would pass the schedule's end. */
int64_t ddim_jitter_range(const noise_schedule *schedule, int64_t steps);

/* The timestep of the latent that has been denoised `done` steps, 0 <= done < steps. */
int64_t ddim_timestep(const ddim *walk, int64_t done);

/* x [count] at timestep t, and the model's output for it -> x one stride less noisy, in place. eta 0, no clipping. */
void ddim_step(const ddim *walk, int64_t t, const float *output, float *x, size_t count);

/* out = u + scale (c - u): classifier-free guidance. `out` may be u or c.
 * Source: Ho and Salimans, "Classifier-free diffusion guidance" (2022). */
void guidance_apply(const float *unconditional, const float *conditional, float scale, float *out, size_t count);

#endif
