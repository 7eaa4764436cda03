/* The painter: from prompts to pictures, with sessions that it keeps for as long as sizes stay the same.
 *
 *     painter *p;
 *     LECO_TRY(painter_create(device, model, schedule, adapters, model->states, &p, err));
 *     LECO_TRY(painter_draw(p, &painting, &done, err));
 *     painter_destroy(p); */
#ifndef LECO_DIFFUSION_PAINTER_H
#define LECO_DIFFUSION_PAINTER_H

#include "diffusion/conditioning.h"
#include "diffusion/sampler.h"

typedef struct painter painter;

/* Loads what is missing of m's weights. d, m, the schedule and the trainables in the adapters outlive the painter;
 * adapters (NULL: none) is copied. On failure *out is NULL. */
leco_status painter_create(const device *d, model *m, const noise_schedule *schedule, const adapter_set *adapters,
                           text_options options, painter **out, leco_error *err);
void painter_destroy(painter *p); /* NULL is fine */

/* Call when the multiplier of an adapter changed: it may reach into the text encoder. */
void painter_forget_texts(painter *p);

typedef struct picture_text {
    const char *prompt, *negative; /* negative: NULL where there is none, which may be another than "" (model.h) */
} picture_text;

typedef struct painting {
    const picture_text *text; /* [count] one a picture */
    size_t count;
    sampling sampling;
    float guidance_scale;
    int64_t height, width; /* pixels: multiples of the VAE's factor */
    int64_t batch;         /* pictures computed together at most */
    uint64_t budget;       /* bytes that may be planned, or 0: within it pictures are decoded in tiles, or refused */
    rng_kind rng;
    uint64_t seed;        /* of the first picture; the others follow by 1 */
    const float *latents; /* noise [count, h, w, C] to start from, or NULL: from the seeds */
    /* Called before each step of a batch whose first picture is `first`; false stops. May be NULL. */
    bool (*go_on)(void *user, size_t first, int64_t batch, int64_t step);
    /* Takes picture `index`: rgb [height, width, 3], valid during the call. */
    leco_status (*keep)(void *user, size_t index, const uint8_t *rgb, leco_error *err);
    void *user;
} painting;

/* *done counts the pictures that were kept, also on failure. LECO_INTERRUPTED where go_on said no; latents that aren't
 * finite are LECO_INVALID. */
leco_status painter_draw(painter *p, const painting *what, size_t *done, leco_error *err);

#endif
