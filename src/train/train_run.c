#include "train/trainer_internal.h"

#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "base/number.h"
#include "train/pace.h"
#include "train/save.h"

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

/* The scale that makes the gradient [count] at most `longest` (0: as long as it is), as torch's clip_grad_norm_ has it,
 * 1e-6 included. One that isn't finite stays so, and is found out as it would be without. */
static float clipped(const gradients_of_step *g, size_t count, double longest)
{
    if (longest == 0) return g->scale;
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)g->values[i] * (double)g->values[i];
    const double norm = fabs((double)g->scale) * sqrt(sum);
    return (float)((double)g->scale * fmin(1, longest / (norm + 1e-6)));
}

/* Teachers and students at one kept latent, then the optimizer. */
static leco_status learn(trainer *t, const source_pass *pass, size_t index, double *loss, leco_error *err)
{
    const train_config *c = t->config;
    lesson *l = &t->lessons[pass->objective];
    const float *x = t->kept + index * lesson_latents(l, pass);
    gradients_of_step g;
    LECO_TRY(lesson_learn(l, pass, index, x, t->trainable, t->sum, loss, &g, err));
    if (!isfinite(*loss)) return blame(t, pass, x, *loss, err);
    optimizer_step(t->optimizer, g.values, clipped(&g, trainable_count(t->trainable), c->max_grad_norm),
                   lr_at(c->lr_schedule, c->lr, optimizer_steps(t->optimizer), c->iterations));
    return LECO_OK;
}

leco_status trainer_follow(trainer *t, const source_pass *pass, const float *noise, size_t limit, double *losses,
                           const train_watch *watch, leco_error *err)
{
    source *s = t->lessons[pass->objective].source[pass->source];
    const train_watch nobody = {0}, *w = watch ? watch : &nobody;
    const source_watch on_the_way = {w->denoised, w->user};
    for (size_t i = 0; i < t->frozen_count; i++) conditioner_trim(t->frozen[i].conditioner);
    if (s->row->choose) s->row->choose(s, pass);
    LECO_TRY(phrases_resolve(t->lessons[pass->objective].phrases, err));
    memcpy(t->x, noise, latent_count(s->size) * sizeof *noise);
    LECO_TRY(s->row->run(s, pass, &t->rng, t->x, t->kept, &on_the_way, err));
    for (size_t i = 0; i < pass->kept_count && i < limit; i++) {
        double loss;
        LECO_TRY(learn(t, pass, i, &loss, err));
        if (losses) losses[i] = loss;
        if (w->learnt && !w->learnt(w->user, loss)) return error_set(err, LECO_INTERRUPTED, "stopped");
    }
    return LECO_OK;
}

source_pass trainer_draw(trainer *t)
{
    const size_t index = objectives_draw(&t->objectives, &t->rng);
    const lesson *l = &t->lessons[index];
    const size_t which = l->source[1] ? (size_t)rng_randint(&t->rng, 0, 2) : 0;
    const source *s = l->source[which];
    phrases_draw(l->phrases, &t->rng);
    source_pass pass = s->row->draw(s, &t->rng, t->kept_steps);
    pass.objective = index;
    pass.source = which;
    latents_draw(&t->rng, t->scratch, t->noise, s->size);
    return pass;
}

/* The state of one trainer_run. */
typedef struct training_run {
    trainer *t;
    train_callback callback;
    void *user;
    double start, mark; /* when the run began; when the last piece of work was done */
    pace pace;
    int64_t pass_end; /* optimizer steps done when this pass is through */
    train_progress progress;
    train_result *result;
    double first_sum, last_sum;
    int64_t first_count, last_count;
} training_run;

/* Denoising steps of a pass to come, on average. */
static double mean_steps(const trainer *t)
{
    double sum = 0;
    for (size_t i = 0; i < t->objectives.count; i++) {
        const source *const *s = (const source *const *)t->lessons[i].source;
        const double one = s[0]->row->steps(s[0], NULL), other = s[1] ? s[1]->row->steps(s[1], NULL) : one;
        sum += objectives_probability(&t->objectives, i) * (one + other) / 2;
    }
    return sum;
}

/* What is left of this pass, and of those to come: as long as they are on average. */
static double seconds_left(const training_run *r)
{
    const train_progress *p = &r->progress;
    double passes = (double)(p->total - r->pass_end) / (double)r->t->config->samples_per_trajectory;
    return pace_seconds(&r->pace, (double)(p->denoised_total - p->denoised) + passes * mean_steps(r->t),
                        (double)(p->total - p->done));
}

static bool report(training_run *r, const char *saved)
{
    train_progress *p = &r->progress;
    p->seconds = cpu_seconds() - r->start;
    p->seconds_left = seconds_left(r);
    p->saved = saved;
    return !r->callback || r->callback(r->user, p);
}

/* Seconds since the last piece of work. */
static double lap(training_run *r)
{
    double now = cpu_seconds(), seconds = now - r->mark;
    r->mark = now;
    return seconds;
}

static bool on_denoised(void *user)
{
    training_run *r = user;
    r->pace.denoising += lap(r);
    r->pace.denoised++;
    r->progress.denoised++;
    return report(r, NULL);
}

static bool on_learnt(void *user, double loss)
{
    training_run *r = user;
    train_progress *p = &r->progress;
    const int64_t tenth = (p->total + 9) / 10;
    r->pace.learning += lap(r);
    r->pace.learnt++;
    if (p->done < tenth) {
        r->first_sum += loss;
        r->first_count++;
    }
    if (p->done >= p->total - tenth) {
        r->last_sum += loss;
        r->last_count++;
    }
    p->done++;
    p->loss = loss;
    return report(r, NULL) || p->done == p->total; /* after the last step there is nothing to stop */
}

static leco_status save(training_run *r, bool last, leco_error *err)
{
    char *path = NULL;
    for (size_t i = 0; i < r->t->frozen_count; i++) LECO_TRY(model_unchanged(r->t->frozen[i].model, err));
    LECO_TRY(save_adapter(r->t->config, r->t->frozen[0].model, r->t->trainable, r->progress.done, last, &path, err));
    mem_free(r->result->path);
    r->result->path = path;
    return LECO_OK;
}

static leco_status run_passes(training_run *r, leco_error *err)
{
    trainer *t = r->t;
    const train_config *c = t->config;
    train_progress *p = &r->progress;
    const train_watch watch = {on_denoised, on_learnt, r};
    int64_t saved_at = 0;
    while (p->done < p->total) {
        const source_pass pass = trainer_draw(t);
        const source *s = t->lessons[pass.objective].source[pass.source];
        size_t limit = (size_t)(p->total - p->done);
        if (limit > pass.kept_count) limit = pass.kept_count;
        p->denoised = 0;
        p->denoised_total = (int64_t)s->row->steps(s, &pass);
        r->pass_end = p->done + (int64_t)limit;
        r->mark = cpu_seconds();
        if (p->done == 0 && !report(r, NULL)) return error_set(err, LECO_INTERRUPTED, "stopped");
        LECO_TRY(trainer_follow(t, &pass, t->noise, limit, NULL, &watch, err));
        bool due = c->save_every > 0 && p->done / c->save_every > saved_at / c->save_every;
        if (due && p->done < p->total) {
            LECO_TRY(save(r, false, err));
            saved_at = p->done;
            if (!report(r, r->result->path)) return error_set(err, LECO_INTERRUPTED, "stopped");
        }
    }
    return LECO_OK;
}

leco_status trainer_run(trainer *t, train_callback callback, void *user, train_result *result, leco_error *err)
{
    *result = (train_result){.first_loss = NAN, .last_loss = NAN};
    training_run r = {.t = t, .callback = callback, .user = user, .start = cpu_seconds(), .result = result};
    r.progress = (train_progress){.total = t->config->iterations, .loss = NAN};

    leco_status status = run_passes(&r, err);
    bool stopped = status == LECO_INTERRUPTED;
    if (status == LECO_OK || (stopped && r.progress.done > 0)) {
        leco_status saved = save(&r, !stopped, err);
        if (saved != LECO_OK) status = saved;
    }
    if (status == LECO_OK) report(&r, result->path);
    if (status == LECO_INTERRUPTED && r.progress.done == 0)
        error_set(err, status, "stopped before the first step was done: there is nothing to save");
    else if (status == LECO_INTERRUPTED)
        error_set(err, status, "stopped after %lld of %lld steps", (long long)r.progress.done,
                  (long long)r.progress.total);
    result->iterations = r.progress.done;
    result->seconds = cpu_seconds() - r.start;
    if (r.first_count > 0) result->first_loss = r.first_sum / (double)r.first_count;
    if (r.last_count > 0) result->last_loss = r.last_sum / (double)r.last_count;
    return status;
}
