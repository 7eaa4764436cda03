/* The noise schedule of a diffusion model: how much of a latent is noise at each timestep.
 *
 *     x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise,   a_t = product over s <= t of (1 - beta_s)   ("alpha-bar")
 *
 * Numbers are what diffusers' schedulers have, to the bit: betas and alpha-bar f32, arithmetic as torch does it.
 * Source: Ho et al., "Denoising diffusion probabilistic models" (2020); Salimans and Ho, "Progressive distillation"
 * (2022) for v-prediction. */
#ifndef LECO_DIFFUSION_SCHEDULE_H
#define LECO_DIFFUSION_SCHEDULE_H

#include "model/model.h"

typedef struct noise_schedule {
    int64_t train_timesteps;
    prediction prediction; /* what the model's output is */
    int64_t steps_offset;
    float final_alpha_bar; /* alpha-bar where a step leads below timestep 0 */
    float alpha_bar[];     /* [train_timesteps], falling; 0 at the last with zero terminal SNR */
} noise_schedule;

/* Owned by the caller (mem_free). Betas outside (0, 1), or timesteps outside [1, SCHEDULE_MAX_TIMESTEPS], are
 * LECO_INVALID. The config's spacing and clip_sample are a sampler's matter and not looked at.
 *
 * With zero_terminal_snr, sqrt(a_t) is shifted and stretched so that it is 0 at the last timestep and stays as it is at
 * the first: nothing but noise is left there, and only v says something about it; a model that predicts epsilon is
 * LECO_INVALID. Source: Lin et al., "Common diffusion noise schedules and sample steps are flawed" (2023). */
leco_status noise_schedule_create(const schedule_config *config, noise_schedule **out, leco_error *err);

/* The timestep of `to` at which as much of a latent is noise as at `timestep` of `from`, between two of its timesteps
 * where it must be; the nearest end where it has none. With equal schedules, `timestep` itself. */
double schedule_same_noise(const noise_schedule *from, const noise_schedule *to, double timestep);

/* Alpha-bar at a timestep, linear between two of them. */
double schedule_alpha_bar(const noise_schedule *s, double timestep);

/* What a model that predicts `to` would say where one that predicts `from` says output [count] at x [count], in
 * place:
 *     epsilon to v   v = (eps - sqrt(1 - a) x) / sqrt(a)
 *     v to epsilon   eps = sqrt(a) v + sqrt(1 - a) x */
void prediction_convert(prediction from, prediction to, double alpha_bar, const float *x, float *output, size_t count);

/* The clean latent and the noise that one element's prediction `output` stands for, at x and alpha-bar a (signal =
 * sqrt(a), noise = sqrt(1 - a)):
 *     epsilon   clean = (x - noise output) / signal,      eps = output
 *     v         clean = signal x - noise output,          eps = signal output + noise x */
static inline void schedule_split(prediction p, float signal, float noise, float x, float output, float *clean,
                                  float *eps)
{
    if (p == PREDICT_V) {
        *clean = signal * x - noise * output;
        *eps = signal * output + noise * x;
    } else {
        *clean = (x - noise * output) / signal;
        *eps = output;
    }
}

#endif
