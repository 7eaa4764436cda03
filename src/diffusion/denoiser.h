/* A U-Net for one batch and size: a graph and its session, planned, then ready to run. */
#ifndef LECO_DIFFUSION_DENOISER_H
#define LECO_DIFFUSION_DENOISER_H

#include "diffusion/conditioning.h"
#include "diffusion/latents.h"
#include "diffusion/loss_scale.h"

typedef struct denoiser denoiser;

typedef struct denoiser_options {
    latent_size size;            /* channels is filled in from the model */
    int64_t tokens;              /* of the text states */
    const adapter_set *adapters; /* NULL: none. Borrowed while creating; its trainables outlive the denoiser */
    bool trainable;              /* also compute loss and gradients: denoiser_run_training */
    bool huber;                  /* the loss is op_huber's, with the c of denoiser_set_huber; else op_mse's */
    rng *dropout; /* of one that learns, borrowed: what adapters leave out is drawn from it; NULL: nothing */
    /* Of one that learns in float16, borrowed, may be NULL; shared by all of a training. In other precisions nothing is
     * scaled. */
    loss_scale *scale;
    double recompute; /* share of the blocks whose activations the backward pass makes again, from 0 to 1 */
    /* Not NULL: the text encoders are part of the graph, adapters and all, and what samples are conditioned on is their
     * ids: for adapters of text encoders that change from run to run. m's text encoders are mapped, too. */
    const text_options *text;
} denoiser_options;

/* Builds over m's U-Net weights (mapped by the caller) and plans; takes no memory. `d`, m and the trainables outlive
 * the denoiser. On failure *out is NULL. */
leco_status denoiser_plan(const device *d, const model *m, const denoiser_options *options, denoiser **out,
                          leco_error *err);
/* Takes what was planned, if that isn't done yet; m's weights are loaded and the trainables have their values now. */
leco_status denoiser_prepare(denoiser *n, leco_error *err);
/* Both at once. */
leco_status denoiser_create(const device *d, const model *m, const denoiser_options *options, denoiser **out,
                            leco_error *err);
void denoiser_destroy(denoiser *n); /* NULL is fine */

latent_size denoiser_size(const denoiser *n);
size_t denoiser_arena_bytes(const denoiser *n); /* as planned, both */
size_t denoiser_bytes(const denoiser *n);       /* of the graph, the session and what inputs are put together in */

/* What one of the batch's samples is conditioned on: all that the U-Net reads. *c is copied; what it points to is
 * borrowed until replaced, and read by each run. */
void denoiser_set_context(denoiser *n, int64_t sample, const conditioning *c);

/* x [B,h,w,C] and a timestep for all -> the model's output [B,h,w,C]: noise, or v. `output` may be x. */
leco_status denoiser_run(denoiser *n, const float *x, double timestep, float *output, leco_error *err);

/* Of a denoiser whose loss is huber: where that turns from squares to lines, above 0, from now on. */
void denoiser_set_huber(denoiser *n, double c);

/* The same, then *loss = mean((output - target)^2), or what stands in its place, and d loss / d p into the trainable
 * params' grad. Where a loss scale made them infinite, or no numbers, it is halved and all is done again, with the same
 * dropout; LECO_INVALID where nothing is left to halve. A loss that isn't finite is the caller's to find. */
leco_status denoiser_run_training(denoiser *n, const float *x, double timestep, const float *target, double *loss,
                                  leco_error *err);

/* For benchmarks: the graph and session underneath. */
graph *denoiser_graph(denoiser *n);
session *denoiser_session(denoiser *n);

#endif
