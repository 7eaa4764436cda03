/* Pictures that are drawn while a training runs: each prompt at each LoRA weight, from the same noise every time, a row
 * of one growing contact sheet, NAME.previews.png.
 *
 *     LECO_TRY(previews_plan(&setting, &p, err));      ...previews_memory(p)...
 *     LECO_TRY(previews_prepare(p, &setting, err));
 *     if (previews_due(p, steps)) LECO_TRY(previews_draw(p, steps, &watch, err));
 *     previews_destroy(p);
 *
 * Sessions are the trainer's pool's; random numbers, and the VAE, are its own. */
#ifndef LECO_TRAIN_PREVIEWS_H
#define LECO_TRAIN_PREVIEWS_H

#include "picture/image.h"
#include "train/source.h"

typedef struct previews previews;

/* Who watches: `went` after each run of the U-Net, with how many samples it had; false stops. `drawn` gets each
 * picture; may be NULL. */
typedef struct previews_watch {
    bool (*went)(void *user, size_t samples);
    leco_status (*drawn)(void *user, const char *prompt, double factor, const image *picture, leco_error *err);
    void *user;
} previews_watch;

/* *out is NULL where the config wants none. All is borrowed. What the config asks for and can't be is LECO_INVALID. */
leco_status previews_plan(const training_setting *in, previews **out, leco_error *err);
leco_status previews_prepare(previews *p, const training_setting *in, leco_error *err);
void previews_destroy(previews *p); /* NULL is fine */

typedef struct previews_memory {
    size_t arena, weights, mapped, graphs, pictures; /* bytes, as planned but for the weights */
} previews_memory;
previews_memory previews_planned(const previews *p);
previews_memory previews_allocated(const previews *p);

/* The prompts that the trained model is asked with. */
leco_status previews_visit_prompts(const train_config *config,
                                   leco_status (*visit)(void *user, const char *, leco_error *), void *user,
                                   leco_error *err);

size_t previews_cost(const previews *p); /* samples of the U-Net, of a row */
size_t previews_left(const previews *p); /* rows to come */
char *
previews_text(const previews *p); /* "2 prompts at weights 0.5 1, every 100 steps"; mem_free it; NULL: no memory */
/* mem_free it; NULL: out of memory. */
char *previews_file(const train_config *config);

/* Goes on with the sheet of a training that is resumed after so many steps: what shows later ones goes. */
leco_status previews_resume(previews *p, int64_t done, leco_error *err);
/* Is there a row to be drawn when so many steps are done? */
bool previews_due(const previews *p, int64_t done);
/* Is the last row that was drawn that of these steps? */
bool previews_done(const previews *p, int64_t done);
/* There are no more rows. */
void previews_close_for_good(previews *p);
/* Draws it, and writes the sheet. LECO_INTERRUPTED where the watch said no: nothing is written then. */
leco_status previews_draw(previews *p, int64_t done, const previews_watch *w, leco_error *err);

#endif
