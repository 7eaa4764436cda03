/* The one trainer: it draws an objective, makes noisy latents, and moves the adapter by what its branches say.
 *
 *     trainer *t;
 *     LECO_TRY(trainer_plan(&config, "cpu", 0, &t, err));       ...trainer_planned(t)...
 *     LECO_TRY(trainer_prepare(t, err));
 *     LECO_TRY(trainer_run(t, callback, user, &result, err));
 *     trainer_destroy(t); */
#ifndef LECO_TRAIN_TRAINER_H
#define LECO_TRAIN_TRAINER_H

#include "train/effect_figures.h"
#include "train/source.h"

typedef struct trainer trainer;

/* Finds out all that a training needs: the model, its prompts, the adapter, the graphs of all sessions, with memory for
 * these descriptions alone. Of the weights' files only the headers are read. device: as device_open. Where a
 * budget of bytes (0: none) is too small, activations are computed again in the backward pass instead of kept, as many
 * as it takes; it may still not fit: compare with trainer_planned. The config is borrowed. On failure *out is NULL. */
leco_status trainer_plan(const train_config *config, const char *device, uint64_t budget, trainer **out,
                         leco_error *err);
/* Makes a planned one go on where another left off: from the state in that file, which must be of a training like this.
 * Otherwise the error says what differs; LECO_INVALID, too, where there is no such file. Before trainer_prepare. */
leco_status trainer_resume(trainer *t, const char *path, leco_error *err);
/* Takes what was planned: encodes the prompts, packs weights, fills the adapter. After this, training allocates
 * nothing. */
leco_status trainer_prepare(trainer *t, leco_error *err);
void trainer_destroy(trainer *t); /* NULL is fine */

/* Bytes that leco allocates. `weights` are the frozen ones as kernels want them, `activations` the arena that all
 * sessions share, `texts` the prompts' states, `latents` what goes into and comes out of the sessions, `graphs` nodes
 * and sessions, `adapter` its values and gradients, `optimizer` its states. The text encoder is gone before the U-Net
 * comes: `encoding` is all that there is until then. Not leco's own, and not counted: `mapped`, the tensors in the
 * U-Net's file, and what libraries keep. */
typedef struct memory_use {
    uint64_t weights, activations, texts, latents, graphs, adapter, optimizer;
    uint64_t encoding;
    uint64_t mapped;
} memory_use;
uint64_t memory_total(const memory_use *use); /* the most at any time */
char *memory_text(const memory_use *use);     /* "24.0 MiB = weights 18.1 + ..."; mem_free it; NULL: out of memory */

memory_use trainer_planned(const trainer *t);   /* what the plans of all sessions say */
memory_use trainer_allocated(const trainer *t); /* what is allocated now, after trainer_prepare */

/* A few lines for people: model, adapter, pairs, memory. mem_free it; NULL: out of memory. */
char *trainer_summary(const trainer *t);

typedef struct train_progress {
    int64_t done, total;              /* optimizer steps */
    int64_t denoised, denoised_total; /* denoising steps of this pass */
    double seconds, seconds_left;     /* the latter negative as long as it isn't known */
    double loss;                      /* of the last step, NaN before the first */
    const char *saved;                /* a file that was just written, or NULL */
    const effect_figures *effect;     /* as measured last, or NULL */
} train_progress;

/* Called at the start, after every denoising step and after every latent that was trained on; false stops the
 * run. */
typedef bool (*train_callback)(void *user, const train_progress *progress);

typedef struct train_result {
    char *path;  /* the file written last; mem_free it; NULL: none */
    char *state; /* of one that was stopped, or lost its device: what it can be gone on from; mem_free it; NULL: nothing
                  */
    int64_t iterations;
    double seconds;               /* with those before it was resumed */
    double first_loss, last_loss; /* means over the first and the last tenth of the steps; NaN where there are none */
    effect_figures effect;        /* as measured last, all NaN where it wasn't, ... */
    int64_t effect_step;          /* ... after so many steps */
} train_result;

/* What is saved, drawn with and measured may be an average, not what is trained (ema_decay, schedule-free optimizers).
 * Between these two the trainable holds it, and nothing is trained. They do nothing where there is no difference, as
 * before the first step. */
void trainer_show(trainer *t);
void trainer_hide(trainer *t);

/* Runs config->iterations optimizer steps, or as many as it takes for config->stop_at_effect, saving every save_every
 * steps as NAME_<steps, six digits>.safetensors, and at the end as NAME.safetensors. Stopped by the callback, it saves
 * under the number of steps (nothing where there are none) and returns LECO_INTERRUPTED. Beside what is saved on the
 * way the state is, which trainer_resume takes (save_state); at the end it is removed, or written once more
 * (keep_state). Where the device fails, all is saved that would be if the callback had stopped it; that is LECO_DEVICE,
 * and the message tells the files. A loss or an adapter that isn't finite is LECO_INVALID; nothing is saved then.
 * *result is filled in any case: its iterations are the steps that moved the adapter. */
leco_status trainer_run(trainer *t, train_callback callback, void *user, train_result *result, leco_error *err);

/* ---- for tests: the same run step by step, with given draws ---- */

/* Planned and prepared, with objectives that the config needn't say, borrowed; NULL: the config's. Of the config's
 * entries nothing is read then. */
leco_status trainer_create_for(const train_config *config, const objective_list *objectives, const char *device,
                               trainer **out, leco_error *err);

trainable *trainer_trainable(trainer *t);
rng *trainer_rng(trainer *t);
latent_size trainer_latents(const trainer *t, size_t index); /* of an objective's pictures */
int64_t trainer_steps(const trainer *t);                     /* of the optimizer, done so far */

/* Draws the next pass: one word for the objective (two where prompts are preserved), one for
 * the source where there are two, one for each choice of its wildcards, then what its source draws,
 * then the noise, which the trainer keeps. */
source_pass trainer_draw(trainer *t);

/* Who watches a pass being followed; false stops it. */
typedef struct train_watch {
    bool (*denoised)(void *user);            /* after each denoising step */
    bool (*learnt)(void *user, double loss); /* after each latent, of which one or more make an optimizer step */
    void *user;
} train_watch;

/* Follows one pass from noise [B,h,w,C] and trains on its kept latents, at most `limit`: an optimizer step each, or
 * after every gradient_accumulation_steps. losses [kept_count] (may be NULL) gets each latent's. watch may be NULL;
 * LECO_INTERRUPTED where it said no. */
leco_status trainer_follow(trainer *t, const source_pass *pass, const float *noise, size_t limit, double *losses,
                           const train_watch *watch, leco_error *err);

#endif
