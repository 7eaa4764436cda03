#include "train/trainer_internal.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/log.h"
#include "base/mem.h"
#include "train/crowd.h"
#include "train/pace.h"
#include "train/save.h"

/* The state of one trainer_run. */
typedef struct training_run {
    trainer *t;
    train_callback callback;
    void *user;
    double start, mark; /* when the run began; when the last piece of work was done */
    pace pace;
    crowd crowd;
    /* The pass in progress, what it was drawn from, and how many of its latents were trained on: where that is 0, the
     * pass is yet to be drawn, or to be made again. */
    source_pass pass;
    rng drawn;
    size_t learnt;
    int64_t *saved; /* [saved_count] steps of the files saved on the way that are there, where only the last are kept */
    size_t saved_count;
    bool told;    /* how it begins */
    bool stopped; /* somebody said so while only the observer was at work */
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

/* That are still to be trained on. */
static int64_t latents_left(const training_run *r)
{
    return (r->progress.total - r->progress.done) * r->t->config->accumulation - r->t->gathered_count;
}

/* Of this pass. */
static int64_t latents_at_hand(const training_run *r)
{
    const int64_t rest = (int64_t)(r->pass.kept_count - r->learnt), left = latents_left(r);
    return rest < left ? rest : left;
}

/* What is left of this pass, and of those to come: as long as they are on average. */
static double seconds_left(const training_run *r)
{
    const train_progress *p = &r->progress;
    const double passes = (double)(latents_left(r) - latents_at_hand(r)) / (double)r->t->config->samples_per_trajectory;
    const double left = pace_seconds(&r->pace, (double)(p->denoised_total - p->denoised) + passes * mean_steps(r->t),
                                     (double)latents_left(r));
    return left < 0 ? left : left + pace_watching(&r->pace, observer_samples_left(&r->t->observer, p->done));
}

static bool report(training_run *r, const char *saved)
{
    train_progress *p = &r->progress;
    p->seconds = cpu_seconds() - r->start;
    p->seconds_left = seconds_left(r);
    p->saved = saved;
    p->effect = r->t->observer.measured ? &r->t->observer.effect : NULL;
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

/* An optimizer step was done. */
static void count_step(training_run *r)
{
    train_progress *p = &r->progress;
    const int64_t tenth = (p->total + 9) / 10;
    if (p->done < tenth) {
        r->first_sum += r->t->loss;
        r->first_count++;
    }
    if (p->done >= p->total - tenth) {
        r->last_sum += r->t->loss;
        r->last_count++;
    }
    p->done++;
    p->loss = r->t->loss;
    r->t->figures.loss = r->t->loss;
    r->t->figures.seconds = cpu_seconds() - r->start;
    observer_note(&r->t->observer, &r->t->figures);
}

static bool on_learnt(void *user, double loss)
{
    training_run *r = user;
    const train_progress *p = &r->progress;
    (void)loss;
    r->pace.learning += lap(r);
    r->pace.learnt++;
    r->learnt++;
    crowd_look(&r->crowd);
    if (optimizer_steps(r->t->optimizer) > p->done) count_step(r);
    return report(r, NULL) || p->done == p->total; /* after the last step there is nothing to stop */
}

/* ---- watching ---- */

static bool on_watched(void *user, size_t samples)
{
    training_run *r = user;
    r->pace.watching += lap(r);
    r->pace.watched += (double)samples;
    r->stopped = !report(r, NULL);
    return !r->stopped;
}

/* Steps that were done when a pass that is through now began. */
static int64_t steps_before(const training_run *r)
{
    const train_config *c = r->t->config;
    const int64_t latents = r->progress.done * c->accumulation + r->t->gathered_count - c->samples_per_trajectory;
    return latents > 0 ? latents / c->accumulation : 0;
}

/* Between trajectories: before the next one is drawn, nothing of what it sees is used. */
static leco_status look(training_run *r, leco_error *err)
{
    const observer_watch watch = {on_watched, r};
    const train_progress *p = &r->progress;
    r->mark = cpu_seconds();
    if (r->learnt > 0 || p->done == p->total) return LECO_OK;
    trainer_show(r->t);
    leco_status status = observer_look(&r->t->observer, p->done, steps_before(r), &watch, err);
    trainer_hide(r->t);
    LECO_TRY(status);
    if (r->t->observer.reached)
        log_message(LOG_INFO, "the effect is %.3f of what is asked for: this ends after %lld of %lld steps",
                    r->t->observer.effect.effect, (long long)p->done, (long long)p->total);
    return LECO_OK;
}

/* Of what is done already; who doesn't want to wait for that needn't. */
static leco_status look_last(training_run *r, leco_error *err)
{
    const observer_watch watch = {on_watched, r};
    r->mark = cpu_seconds();
    trainer_show(r->t);
    leco_status status = observer_end(&r->t->observer, r->progress.done, &watch, err);
    trainer_hide(r->t);
    observer_flush(&r->t->observer);
    if (status == LECO_INTERRUPTED) return LECO_OK;
    LECO_TRY(status);
    observer_judge(&r->t->observer, r->progress.done);
    return LECO_OK;
}

/* ---- saving ---- */

static leco_status save_state(training_run *r, const char *path, leco_error *err)
{
    train_state s = {.drawn = r->drawn,
                     .learnt = (int64_t)r->learnt,
                     .first_sum = r->first_sum,
                     .first_count = r->first_count,
                     .last_sum = r->last_sum,
                     .last_count = r->last_count,
                     .loss = r->progress.loss,
                     .seconds = cpu_seconds() - r->start,
                     .saved = r->saved,
                     .saved_count = r->saved_count};
    observer_flush(&r->t->observer);
    return trainer_write_state(r->t, &r->pass, &s, path, err);
}

/* Where all are kept none need be known. */
static leco_status note_saved(training_run *r, leco_error *err)
{
    if (r->t->config->keep_last == 0) return LECO_OK;
    if (r->saved_count > 0 && r->saved[r->saved_count - 1] == r->progress.done) return LECO_OK;
    int64_t *grown = mem_realloc(r->saved, r->saved_count + 1, sizeof *grown);
    if (!grown) return error_memory(err, (r->saved_count + 1) * sizeof *grown, "the list of saved files");
    r->saved = grown;
    grown[r->saved_count++] = r->progress.done;
    return LECO_OK;
}

/* After the state was written, which still lists them: who is killed in between removes them when it goes on. */
static leco_status remove_old(training_run *r, leco_error *err)
{
    const size_t most = (size_t)r->t->config->keep_last;
    if (most == 0 || r->saved_count <= most) return LECO_OK;
    const size_t old = r->saved_count - most;
    for (size_t i = 0; i < old; i++) LECO_TRY(save_remove(r->t->config, r->saved[i], err));
    memmove(r->saved, r->saved + old, most * sizeof *r->saved);
    r->saved_count = most;
    return LECO_OK;
}

static leco_status save_adapter_of(training_run *r, bool last, leco_error *err)
{
    trainer *t = r->t;
    char *path = NULL;
    for (size_t i = 0; i < t->frozen_count; i++) LECO_TRY(model_unchanged(t->frozen[i].model, err));
    trainer_show(t);
    leco_status status = save_adapter(t->config, t->frozen[0].model, t->device.compute, t->trainable, r->progress.done,
                                      last, &path, err);
    trainer_hide(t);
    LECO_TRY(status);
    mem_free(r->result->path);
    r->result->path = path;
    return LECO_OK;
}

/* The adapter first: a state without it loses nothing. *state (may be NULL) gets the state's name. */
static leco_status save_on_the_way(training_run *r, char **state, leco_error *err)
{
    LECO_TRY(save_adapter_of(r, false, err));
    LECO_TRY(note_saved(r, err));
    if (r->t->config->save_state) {
        char *path = save_state_name(r->t->config);
        leco_status status = path ? save_state(r, path, err) : error_memory(err, 0, "a file's name");
        if (status == LECO_OK && state)
            *state = path;
        else
            mem_free(path);
        LECO_TRY(status);
    }
    return remove_old(r, err);
}

/* A state of this name is of no use any more. */
static leco_status save_last(training_run *r, leco_error *err)
{
    LECO_TRY(save_adapter_of(r, true, err));
    char *path = save_state_name(r->t->config);
    if (!path) return error_memory(err, 0, "a file's name");
    leco_status status = LECO_OK;
    if (r->t->config->keep_state)
        status = save_state(r, path, err);
    else if (unlink(path) != 0 && errno != ENOENT)
        status = error_errno(err, path, "cannot remove", errno);
    mem_free(path);
    return status;
}

/* ---- running ---- */

/* Nothing of a pass is pending once all of its latents were trained on. */
static void end_pass(training_run *r)
{
    if (r->learnt == 0 || r->learnt < r->pass.kept_count) return;
    r->learnt = 0;
    r->drawn = r->t->rng;
}

/* One that is drawn now, or the rest of one that a state was written in. */
static leco_status run_pass(training_run *r, leco_error *err)
{
    trainer *t = r->t;
    train_progress *p = &r->progress;
    const train_watch watch = {on_denoised, on_learnt, r};
    const bool fresh = r->learnt == 0;
    if (fresh) {
        r->drawn = t->rng;
        r->pass = trainer_draw(t);
    }
    const source *s = t->lessons[r->pass.objective].source[r->pass.source];
    const size_t limit = (size_t)latents_at_hand(r);
    p->denoised_total = (int64_t)s->row->steps(s, &r->pass);
    p->denoised = fresh ? 0 : p->denoised_total;
    r->mark = cpu_seconds();
    if (!r->told && !report(r, NULL)) return error_set(err, LECO_INTERRUPTED, "stopped");
    r->told = true;
    if (fresh) LECO_TRY(trainer_make_latents(t, &r->pass, t->noise, &watch, err));
    LECO_TRY(trainer_learn_all(t, &r->pass, r->learnt, r->learnt + limit, NULL, &watch, err));
    end_pass(r); /* of the last one there may be more */
    return LECO_OK;
}

static leco_status run_passes(training_run *r, leco_error *err)
{
    const train_config *c = r->t->config;
    train_progress *p = &r->progress;
    /* Steps done when the pass in progress began. It was saved then, or later, but not at a multiple of save_every. */
    int64_t saved_at = (p->done * c->accumulation + r->t->gathered_count - (int64_t)r->learnt) / c->accumulation;
    while (p->done < p->total && !r->t->observer.reached) {
        LECO_TRY(run_pass(r, err));
        LECO_TRY(look(r, err));
        if (r->t->observer.reached) break;
        bool due = c->save_every > 0 && p->done / c->save_every > saved_at / c->save_every;
        if (due && p->done < p->total) {
            LECO_TRY(save_on_the_way(r, NULL, err));
            saved_at = p->done;
            if (!report(r, r->result->path)) return error_set(err, LECO_INTERRUPTED, "stopped");
        }
    }
    return LECO_OK;
}

/* Draws the pass in progress again, and takes the latents that were kept of it. */
static leco_status restore_pass(training_run *r, leco_error *err)
{
    trainer *t = r->t;
    const train_state *s = &t->resumed;
    t->rng = s->drawn;
    r->pass = trainer_draw(t);
    source *from = t->lessons[r->pass.objective].source[r->pass.source];
    const size_t floats = r->pass.kept_count * lesson_latents(&t->lessons[r->pass.objective], &r->pass);
    if ((int64_t)r->pass.kept_count != s->kept_count || s->kept_floats != floats)
        return error_set(err, LECO_FORMAT, "%s: is no state that leco wrote: the latents that it keeps can't be",
                         t->resumed_from);
    LECO_TRY(trainer_choose(t, &r->pass, err));
    from->row->again(from, &r->pass, &t->rng, t->noise);
    memcpy(t->kept, s->kept, floats * sizeof *t->kept);
    return LECO_OK;
}

/* What the state says, where there is one; it isn't needed any more then. */
static leco_status restore(training_run *r, leco_error *err)
{
    trainer *t = r->t;
    train_state *s = &t->resumed;
    if (!t->resumed_from) return LECO_OK;
    r->saved = mem_calloc(s->saved_count, sizeof *r->saved);
    if (!r->saved) return error_memory(err, s->saved_count * sizeof *r->saved, "the list of saved files");
    if (s->saved_count > 0) memcpy(r->saved, s->saved, s->saved_count * sizeof *r->saved);
    r->saved_count = s->saved_count;
    trainer_restore(t);
    if (s->learnt > 0) LECO_TRY(restore_pass(r, err));
    t->rng = s->rng;
    r->drawn = s->drawn;
    r->learnt = (size_t)s->learnt;
    r->first_sum = s->first_sum;
    r->first_count = s->first_count;
    if (s->iterations == t->config->iterations) { /* else it is another tenth */
        r->last_sum = s->last_sum;
        r->last_count = s->last_count;
    }
    r->start -= s->seconds;
    r->progress.done = s->done;
    r->progress.loss = s->loss;
    log_message(LOG_INFO, "%s: going on after %lld of %lld steps", t->resumed_from, (long long)s->done,
                (long long)r->progress.total);
    state_free(s);
    return remove_old(r, err);
}

/* The observer asks the model before the adapter becomes what it was: embeddings begin as words. */
static leco_status begin(training_run *r, leco_error *err)
{
    const observer_watch watch = {on_watched, r};
    observer *o = &r->t->observer;
    r->mark = cpu_seconds();
    LECO_TRY(observer_begin(o, &watch, err));
    LECO_TRY(restore(r, err));
    r->mark = cpu_seconds();
    trainer_show(r->t);
    leco_status status = observer_start(o, r->progress.done, r->t->resumed_from != NULL,
                                        r->learnt == 0 ? steps_before(r) : -1, &watch, err);
    trainer_hide(r->t);
    return status;
}

/* What a run that was stopped leaves. */
static leco_status save_stopped(training_run *r, leco_error *err)
{
    const train_progress *p = &r->progress;
    if (p->done == 0)
        return error_set(err, LECO_INTERRUPTED, "stopped before the first step was done: there is nothing to save");
    end_pass(r);
    LECO_TRY(save_on_the_way(r, &r->result->state, err));
    return error_set(err, LECO_INTERRUPTED, "stopped after %lld of %lld steps%s", (long long)p->done,
                     (long long)p->total,
                     r->result->state ? "" : "; save.state is false: it can't be resumed, only begun anew");
}

/* What a run leaves whose device failed: the same as one that was stopped. The device isn't asked for any of it. */
static leco_status save_lost(training_run *r, leco_error *err)
{
    const train_progress *p = &r->progress;
    const leco_error lost = err ? *err : (leco_error){0};
    leco_error failure = {0};
    if (p->done == 0)
        return error_set(err, LECO_DEVICE, "%s; no step was done before that: there is nothing to save", lost.message);
    end_pass(r);
    if (save_on_the_way(r, &r->result->state, &failure) != LECO_OK)
        return error_set(err, LECO_DEVICE, "%s; what was trained in %lld steps could not be saved: %s", lost.message,
                         (long long)p->done, failure.message);
    const char *state = r->result->state;
    return error_set(err, LECO_DEVICE, "%s; what was trained in %lld of %lld steps is saved as %s; %s%s", lost.message,
                     (long long)p->done, (long long)p->total, r->result->path,
                     state ? "--resume goes on from " : "save.state is false: it can't be resumed, only begun anew",
                     state ? state : "");
}

leco_status trainer_run(trainer *t, train_callback callback, void *user, train_result *result, leco_error *err)
{
    const double none = (double)NAN;
    *result = (train_result){.first_loss = none, .last_loss = none, .effect = {none, none, none, none, none}};
    training_run r = {.t = t, .callback = callback, .user = user, .start = cpu_seconds(), .result = result};
    r.progress = (train_progress){.total = t->config->iterations, .loss = NAN};

    leco_status status = begin(&r, err);
    if (status == LECO_OK) status = run_passes(&r, err);
    if (status == LECO_INTERRUPTED) status = save_stopped(&r, err);
    if (status == LECO_OK) status = look_last(&r, err);
    if (status == LECO_DEVICE) status = save_lost(&r, err);
    if (status == LECO_OK && t->observer.reached) r.progress.total = r.progress.done;
    if (status == LECO_OK) status = save_last(&r, err);
    if (status == LECO_OK) report(&r, result->path);
    mem_free(r.saved);
    result->iterations = r.progress.done;
    result->seconds = cpu_seconds() - r.start;
    if (r.first_count > 0) result->first_loss = r.first_sum / (double)r.first_count;
    if (r.last_count > 0) result->last_loss = r.last_sum / (double)r.last_count;
    if (r.last_count == 0 && t->observer.reached) result->last_loss = t->observer.loss_mean;
    if (t->observer.measured) result->effect = t->observer.effect;
    result->effect_step = t->observer.effect_step;
    return status;
}
