/* One pass: what is drawn of it, its latents, and what is learnt from each. */
#include <math.h>
#include <string.h>

#include "base/number.h"
#include "train/trainer_internal.h"

static bool all_finite(const float *x, size_t count)
{
    return number_first_bad(x, count) == count;
}

/* What is known of a loss that isn't finite: which of the numbers that go into it was the first to be no number. */
static leco_status blame(const trainer *t, const source_pass *pass, const float *x, double loss, leco_error *err)
{
    const train_config *c = t->config;
    const lesson *l = &t->lessons[pass->objective];
    const size_t count = latent_count(l->size);
    const size_t seen = lesson_latents(l, pass);
    const long long done = (long long)optimizer_steps(t->optimizer);
    const char *value = isnan(loss) ? "not a number" : "infinite";
    const char *what = !all_finite(x, seen) ? "the latents denoised with the adapter on are not finite"
                       : !all_finite(l->wanted, count * l->objective->branch_count)
                           ? "what the model itself predicts is not finite"
                           : "the prediction with the adapter on is not finite, or too far "
                             "from its target";
    if (done == 0)
        return error_set(err, LECO_INVALID, "%s: the loss of the first step is %s: %s in %s; nothing was trained",
                         l->objective->place, value, what, dtype_name(t->device.compute));
    return error_set(err, LECO_INVALID,
                     "%s: the loss is %s after %lld step%s with train.lr %g: %s in %s; the adapter as it is now was "
                     "not saved",
                     l->objective->place, value, done, done == 1 ? "" : "s", c->lr, what,
                     dtype_name(t->device.compute));
}

/* Teachers and students at one kept latent. Where it fails half way nothing of it is left: a state that is written then
 * goes on with the same latent. */
static leco_status learn_from(trainer *t, const source_pass *pass, size_t index, const float *x, double *loss,
                              gradients_of_step *g, leco_error *err)
{
    const rng drawn = t->rng;
    const loss_scale scale = t->scale;
    lesson *l = &t->lessons[pass->objective];
    const leco_status status = lesson_learn(l, pass, index, x, t->trainable, t->sum, loss, g, err);
    if (status == LECO_OK) return LECO_OK;
    t->rng = drawn;
    t->scale = scale;
    return status;
}

/* The same, then the optimizer, where that makes a step. */
static leco_status learn(trainer *t, const source_pass *pass, size_t index, double *loss, leco_error *err)
{
    const float *x = t->kept + index * lesson_latents(&t->lessons[pass->objective], pass);
    gradients_of_step g;
    LECO_TRY(learn_from(t, pass, index, x, loss, &g, err));
    if (!isfinite(*loss)) return blame(t, pass, x, *loss, err);
    trainer_note_latent(t, pass, index);
    trainer_step(t, g, *loss);
    return LECO_OK;
}

/* Makes a pass that was drawn the one that is learnt from, but for its latents. */
leco_status trainer_choose(trainer *t, const source_pass *pass, leco_error *err)
{
    source *s = t->lessons[pass->objective].source[pass->source];
    for (size_t i = 0; i < t->frozen_count; i++) conditioner_trim(t->frozen[i].conditioner);
    if (s->row->choose) s->row->choose(s, pass);
    return phrases_resolve(t->lessons[pass->objective].phrases, err);
}

/* Makes the latents of a pass. */
leco_status trainer_make_latents(trainer *t, const source_pass *pass, const float *noise, const train_watch *w,
                                 leco_error *err)
{
    source *s = t->lessons[pass->objective].source[pass->source];
    const source_watch on_the_way = {w->denoised, w->user};
    LECO_TRY(trainer_choose(t, pass, err));
    memcpy(t->x, noise, latent_count(s->size) * sizeof *noise);
    return s->row->run(s, pass, &t->rng, t->x, t->kept, &on_the_way, err);
}

/* Trains on latents [first, end) of those that were made. */
leco_status trainer_learn_all(trainer *t, const source_pass *pass, size_t first, size_t end, double *losses,
                              const train_watch *w, leco_error *err)
{
    for (size_t i = first; i < end; i++) {
        double loss;
        LECO_TRY(learn(t, pass, i, &loss, err));
        if (losses) losses[i] = loss;
        if (w->learnt && !w->learnt(w->user, loss)) return error_set(err, LECO_INTERRUPTED, "stopped");
    }
    return LECO_OK;
}

leco_status trainer_follow(trainer *t, const source_pass *pass, const float *noise, size_t limit, double *losses,
                           const train_watch *watch, leco_error *err)
{
    const train_watch nobody = {0}, *w = watch ? watch : &nobody;
    LECO_TRY(trainer_make_latents(t, pass, noise, w, err));
    return trainer_learn_all(t, pass, 0, limit < pass->kept_count ? limit : pass->kept_count, losses, w, err);
}

/* A size is drawn after the steps, as p1atdev's trainer does; which steps there are is the same at all sizes. */
source_pass trainer_draw(trainer *t)
{
    size_t index = objectives_draw(&t->objectives, &t->rng);
    const bool changes = t->objectives.item[index].heights > 0;
    const lesson *l = &t->lessons[index];
    const size_t which = l->source[1] ? (size_t)rng_randint(&t->rng, 0, 2) : 0;
    const source *s = l->source[which];
    if (!changes) phrases_draw(l->phrases, &t->rng);
    source_pass pass = s->row->draw(s, &t->rng, t->kept_steps);
    if (changes) {
        index = objectives_draw_size(&t->objectives, index, &t->rng);
        l = &t->lessons[index];
        s = l->source[which];
        phrases_draw(l->phrases, &t->rng);
    }
    pass.objective = index;
    pass.source = which;
    latents_draw(&t->rng, t->scratch, t->noise, s->size);
    if (l->objective->crops && unet_pooled_width(&t->frozen[0].model->unet) > 0) phrases_draw_crop(l->phrases, &t->rng);
    return pass;
}
