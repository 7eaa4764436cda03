/* The file that a training goes on from: a safetensors file with everything that the rest of the run depends on.
 *
 *     values     [count] f32, all that is trained, as it lies in the flat buffer
 *     optimizer  [count] f32, its state; not there where the kind has none
 *     rng        [2, RNG_NUMBERS] i64: now, and as it was when the pass in progress was drawn (the same where none is)
 *     average    [count] f32, of what is trained (train.ema_decay); not there where none is wanted
 *     gathered   [count] f32, gradients of latents since the last optimizer step, added up; not there where there are
 *                none
 *     scaling    [2] i64, the loss scale; not there but in float16
 *     counters   i64 and sums f64: the numbers below
 *     kept       [count] f32, the latents of the pass in progress; not there where none is
 *     saved      [count] i64, the steps of the files that were saved on the way and may have to go
 *
 * The metadata hold what must be the same again ("is:train.lr"), and a SHA-256 of all the rest, so that no byte can
 * change unseen.
 *
 * What is *not* in it: a denoising that is half done. Where a run is stopped in one, the state is that of the pass's
 * beginning, from which the same draws make the same latents again: this costs a few denoising steps, and neither
 * samplers nor sources need to know of it. A pass that has begun to learn can't be made again, for the model that its
 * latents were made by has changed: its latents are kept, and everything else of it is drawn again. */
#ifndef LECO_TRAIN_STATE_H
#define LECO_TRAIN_STATE_H

#include "base/digest.h"
#include "base/rng.h"
#include "diffusion/loss_scale.h"
#include "train/settings.h"

typedef struct train_state {
    setting_list settings;
    int64_t threads;    /* that computed it */
    int64_t iterations; /* of the whole training, as it was planned then */
    int64_t done;       /* optimizer steps, at least one */
    rng rng, drawn;
    int64_t learnt;     /* latents of the pass in progress that were trained on; 0: there is none */
    int64_t kept_count; /* of how many */
    int64_t gathered;   /* latents since the last optimizer step */
    double first_sum, last_sum, loss, seconds;
    double gathered_loss; /* the sum of their losses */
    int64_t first_count, last_count;
    bool scaled; /* is there a loss scale? */
    loss_scale scale;
    /* f32. Borrowed when writing; when read, they are the mapped file's, perhaps unaligned. */
    const void *values, *optimizer, *kept, *average, *gradients;
    size_t value_count, optimizer_count, kept_floats, average_count, gradient_count;
    const int64_t *saved; /* [saved_count] ascending */
    size_t saved_count;
    struct safetensors *file; /* of one that was read */
} train_state;

/* Atomically. */
leco_status state_write(const train_state *s, const char *path, leco_error *err);

/* Reads and checks all that can be checked without knowing the training: that the file is whole, and each count and
 * number possible. Release with state_free. */
leco_status state_read(const char *path, train_state *out, leco_error *err);
void state_free(train_state *s); /* of one that was read; safe on a zeroed one */

/* Of all that such a file holds besides; for tests, which make files that lie in nothing else. False: no memory. */
bool state_checksum(const struct safetensors *file, char text[DIGEST_TEXT]);

#endif
