/* Photographs to latents, once, in float32, before the U-Net comes: the VAE on a device of its own.
 *
 *     photo_encoder e = {.model = m, .device_name = "cpu"};
 *     LECO_TRY(photo_encoder_want(&e, size, photos, count, err));        ...planned_bytes...
 *     LECO_TRY(photo_encoder_prepare(&e, err));
 *     LECO_TRY(photo_encoder_run(&e, path, size, latent, err));
 *     photo_encoder_free(&e); */
#ifndef LECO_TRAIN_PHOTO_ENCODER_H
#define LECO_TRAIN_PHOTO_ENCODER_H

#include "diffusion/encoder.h"
#include "train/objective.h"

/* Zero-initialise; the owner sets model and device_name, which are borrowed. Nothing is opened until it is wanted. */
typedef struct photo_encoder {
    model *model;
    const char *device_name; /* as device_open takes it */
    device device;
    struct sized_encoder *entry; /* [count] one a size */
    size_t count;
    size_t picture_bytes; /* of the largest photograph, while it is read and scaled */
} photo_encoder;

/* Plans what photographs take that are to become latents of that size, its batch left aside. */
leco_status photo_encoder_want(photo_encoder *e, latent_size size, const photo *photos, size_t count, leco_error *err);
/* Loads the VAE and takes what was planned. */
leco_status photo_encoder_prepare(photo_encoder *e, leco_error *err);
void photo_encoder_free(photo_encoder *e); /* the VAE's weights, too; safe on one that nobody wanted anything of */

size_t photo_encoder_planned_bytes(const photo_encoder *e);
size_t photo_encoder_allocated_bytes(const photo_encoder *e); /* after photo_encoder_prepare, and until it is freed */

/* The picture, fitted to a size that was wanted (image_fit) -> latent [h,w,C] as the U-Net has it: the mean of what the
 * VAE makes of it, times its scaling factor. The spread around that mean, from which kohya's scripts draw, is left out:
 * in Stable Diffusion it is far below the noise that is added, and VAEs that were trained without it, as those in
 * models/, have one that means nothing. Each picture is one latent then. */
leco_status photo_encoder_run(photo_encoder *e, const char *path, latent_size size, float *latent, leco_error *err);

#endif
