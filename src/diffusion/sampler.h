/* Samplers: how a latent is denoised, step by step. Each is a row; training and drawing use them alike.
 *
 *     denoising *d;
 *     LECO_TRY(denoising_create(&sampler_ddim, schedule, 25, size, &d, err));
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
#include "diffusion/schedule.h"

typedef struct sampler sampler;

/* Runs of one sampler, one at a time, from noise to a clean latent. */
typedef struct denoising {
    const sampler *sampler;
    const noise_schedule *schedule; /* borrowed */
    int64_t steps;                  /* runs of the model */
    double *timestep;               /* [steps] falling, without jitter */
    float noise_scale;              /* what x starts from is noise times this */
    latent_size size;               /* of x [B,h,w,C] */
    size_t count;                   /* elements of x */
    int64_t jitter;                 /* of this run: added to all timesteps */
    rng *rng;                       /* of this run, for samplers that add noise: one for all of x, or one a latent */
    size_t rng_count;
    float *scratch; /* [count], for denoising_noise */
    float *memory;  /* what the sampler keeps from step to step; zeroed when a run begins */
} denoising;

struct sampler {
    const char *name;  /* in options and configs: "ddim" */
    const char *label; /* as A1111 writes it into pictures: "DDIM" */
    int copies;        /* floats that it keeps from step to step, in multiples of x; 0: none */
    /* Fills timestep and may change noise_scale, which is 1. */
    leco_status (*start)(denoising *d, leco_error *err);
    /* x [count], denoised `done` steps, and the model's output for it -> x one step further, in place. */
    void (*step)(denoising *d, int64_t done, const float *output, float *x);
    /* x -> x_t as the model and training know it: sqrt(a) clean + sqrt(1 - a) noise. NULL where x is that already;
     * samplers that work in sigma's space scale it back. x_t may be x. */
    void (*latent)(const denoising *d, int64_t done, const float *x, float *x_t);
};

/* The rows there are; samplers.c lists them. */
extern const sampler sampler_ddim, sampler_euler;

const sampler *sampler_at(size_t index); /* in the order of samplers.c; NULL: no more */
/* An unknown name is LECO_INVALID, with those that there are. */
leco_status sampler_parse(const char *name, const sampler **out, leco_error *err);

/* steps that the schedule can't make are LECO_INVALID. The schedule outlives it. On failure *out is NULL. */
leco_status denoising_create(const sampler *s, const noise_schedule *schedule, int64_t steps, latent_size size,
                             denoising **out, leco_error *err);
void denoising_destroy(denoising *d); /* NULL is fine */
/* In two steps: timesteps first, and what all of it takes; the memory of runs second. */
leco_status denoising_plan(const sampler *s, const noise_schedule *schedule, int64_t steps, latent_size size,
                           denoising **out, leco_error *err);
leco_status denoising_prepare(denoising *d, leco_error *err);
size_t denoising_bytes(const denoising *d); /* as planned */

/* How many jitters are possible, from 0: those with which no timestep passes its neighbour's or the schedule's end. */
int64_t denoising_jitter_range(const denoising *d);

/* Starts a run. 0 <= jitter < denoising_jitter_range. rng [rng_count] is borrowed for the run: one generator for the
 * whole batch, as in training, or one a latent, as pictures with seeds of their own have. */
void denoising_begin(denoising *d, int64_t jitter, rng *r, size_t rng_count);

/* The timestep of the latent that has been denoised `done` steps, 0 <= done < steps. */
double denoising_timestep(const denoising *d, int64_t done);
void denoising_latent(const denoising *d, int64_t done, const float *x, float *x_t);
void denoising_step(denoising *d, int64_t done, const float *output, float *x);

/* For samplers: fresh noise [count] in the order in which torch draws it. */
void denoising_noise(denoising *d, float *noise);

#endif
