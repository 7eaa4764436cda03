/* Samplers: how a latent is denoised, step by step. Each is a row; training and drawing use them alike.
 *
 *     denoising *d;
 *     const sampling asked = {&sampler_ddim, .steps = 25};
 *     LECO_TRY(denoising_create(&asked, schedule, size, &d, err));
 *     denoising_begin(d, 0, &rng, 1);
 *     x = noise * d->noise_scale;
 *     for (int64_t done = 0; done < d->steps; done++) {
 *         denoising_latent(d, done, x, x_t);
 *         output = model(x_t, denoising_timestep(d, done));
 *         denoising_step(d, done, output, x);
 *     }
 *     denoising_destroy(d); */
#ifndef LECO_DIFFUSION_SAMPLER_H
#define LECO_DIFFUSION_SAMPLER_H

#include "diffusion/latents.h"
#include "diffusion/timesteps.h"

typedef struct sampler sampler;

/* What is asked of a run. */
typedef struct sampling {
    const sampler *sampler;
    int64_t steps;            /* from noise to a clean latent */
    timestep_spacing spacing; /* SPACING_UNSAID: the sampler's own */
    bool karras;              /* sigmas as Karras et al. space them; of samplers that know sigmas */
} sampling;

/* Runs of one sampler, one at a time, from noise to a clean latent. */
typedef struct denoising {
    const sampler *sampler;
    const noise_schedule *schedule; /* borrowed */
    sampling asked;                 /* its spacing is said */
    int64_t steps;                  /* runs of the model */
    double *timestep;               /* [steps] falling, without jitter: what the model is told */
    double *level;                  /* [steps] the timestep of as much noise as x_t has: seldom another */
    float *sigma;                   /* [steps + 1] of this run, at what the model is told; 0 behind the last */
    float noise_scale;              /* of this run: what x starts from is noise times this */
    latent_size size;               /* of x [B,h,w,C] */
    size_t count;                   /* elements of x */
    int64_t jitter;                 /* of this run: added to all timesteps; may be below 0 */
    rng *rng;                       /* of this run, for samplers that add noise: one for all of x, or one a latent */
    size_t rng_count;
    float *scratch; /* [count], for denoising_noise */
    float *memory;  /* [copies, count] what the sampler keeps from step to step; zeroed when a run begins */
} denoising;

struct sampler {
    const char *name;         /* in options and configs: "ddim" */
    const char *label;        /* as A1111 writes it into pictures: "DDIM" */
    timestep_spacing spacing; /* where nobody says: that of its class in diffusers */
    timestep_grid grid;       /* whole: it knows no sigmas. Between: x is x_t sqrt(1 + sigma^2) */
    bool twice;               /* runs the model twice a step, but for the last: at its start and at its end */
    int copies;               /* floats that it keeps from step to step, in multiples of x; 0: none */
    /* x [count], after `done` runs of the model, and its output for that -> x one further, in place. */
    void (*step)(denoising *d, int64_t done, const float *output, float *x);
    /* Sets d->level where steps lead beside the next timestep. NULL: they don't. */
    void (*levels)(denoising *d);
};

/* The rows there are; samplers.c lists them. */
extern const sampler sampler_ddim, sampler_ddpm, sampler_lms, sampler_euler, sampler_euler_a, sampler_dpmpp_2m,
    sampler_dpmpp_2m_sde, sampler_heun, sampler_uni_pc;

const sampler *sampler_at(size_t index); /* in the order of samplers.c; NULL: no more */
/* An unknown name is LECO_INVALID, with those that there are. */
leco_status sampler_parse(const char *name, const sampler **out, leco_error *err);
/* As A1111 writes it into pictures: "DPM++ 2M Karras". Returns text. */
enum { SAMPLING_LABEL = 40 };
const char *sampling_label(const sampling *asked, char text[SAMPLING_LABEL]);

int64_t sampling_runs(const sampling *asked); /* of the model */

/* What the schedule or the sampler can't do is LECO_INVALID. The schedule outlives it. On failure *out is NULL. */
leco_status denoising_create(const sampling *asked, const noise_schedule *schedule, latent_size size, denoising **out,
                             leco_error *err);
void denoising_destroy(denoising *d); /* NULL is fine */
/* In two steps: timesteps first, and what all of it takes; the memory of runs second. */
leco_status denoising_plan(const sampling *asked, const noise_schedule *schedule, latent_size size, denoising **out,
                           leco_error *err);
leco_status denoising_prepare(denoising *d, leco_error *err);
size_t denoising_bytes(const denoising *d); /* as planned */

/* How many jitters are possible, from 0: those with which no timestep passes its neighbour's or the schedule's ends,
 * upwards or, where there is more room, downwards. 1, which is none, with Karras' sigmas. */
int64_t denoising_jitter_range(const denoising *d);

/* Starts a run. 0 <= jitter < denoising_jitter_range. rng [rng_count] is borrowed for the run: one generator for the
 * whole batch, as in training, or one a latent, as pictures with seeds of their own have. */
void denoising_begin(denoising *d, int64_t jitter, rng *r, size_t rng_count);

/* Of the latent after `done` runs of the model, 0 <= done < steps: the timestep that the model is told, and that of as
 * much noise as the latent has. Some of diffusers' schedulers round the one and not the other. */
double denoising_timestep(const denoising *d, int64_t done);
double denoising_level(const denoising *d, int64_t done);
/* x -> x_t as the model and training know it: sqrt(a) clean + sqrt(1 - a) noise. x_t may be x. */
void denoising_latent(const denoising *d, int64_t done, const float *x, float *x_t);
void denoising_step(denoising *d, int64_t done, const float *output, float *x);

/* For samplers: fresh noise [count] in the order in which torch draws it. */
void denoising_noise(denoising *d, float *noise);

#endif
