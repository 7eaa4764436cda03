#include "train/observer.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/date.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "format/tfevents.h"
#include "picture/png.h"

enum { MEAN_STEPS = 50 }; /* that the mean of the loss is over: a single step's says little */

/* ---- planning ---- */

/* Can a file be made there, and its folders, or the one that is there be written? */
static leco_status check_place(const char *path, bool folder, leco_error *err)
{
    char *at = mem_strdup(path), *slash;
    if (!at) return error_memory(err, strlen(path), "a path");
    const bool whole = file_exists(at);
    leco_status status = LECO_OK;
    if (whole && !folder && file_is_folder(at))
        status = error_set(err, LECO_IO, "%s: cannot write: it is a folder", path);
    while (status == LECO_OK && !file_exists(at) && (slash = strrchr(at, '/')) != NULL) {
        slash[slash == at] = '\0';
        if (slash == at) break;
    }
    const char *there = file_exists(at) ? at : ".";
    if (status == LECO_OK && (!whole || folder) && !file_is_folder(there))
        status = error_set(err, LECO_IO, "%s: cannot write: %s is no folder", path, there);
    if (status == LECO_OK && faccessat(AT_FDCWD, there, W_OK, AT_EACCESS) != 0)
        status = error_errno(err, path, "cannot write", errno);
    mem_free(at);
    return status;
}

static leco_status check_places(const train_config *c, leco_error *err)
{
    if (c->logging.log) LECO_TRY(check_place(c->logging.log, false, err));
    return c->logging.tensorboard ? check_place(c->logging.tensorboard, true, err) : LECO_OK;
}

leco_status observer_plan(observer *o, const training_setting *in, const objective_list *objectives, latent_size size,
                          leco_error *err)
{
    o->config = in->config;
    o->previous_effect = (double)NAN;
    LECO_TRY(check_places(in->config, err));
    LECO_TRY(effect_plan(in, objectives, size, &o->meter, err));
    return previews_plan(in, &o->previews, err);
}

leco_status observer_prepare(observer *o, const training_setting *in, leco_error *err)
{
    if (o->meter) LECO_TRY(effect_prepare(o->meter, in, err));
    return o->previews ? previews_prepare(o->previews, in, err) : LECO_OK;
}

void observer_free(observer *o)
{
    effect_destroy(o->meter);
    previews_destroy(o->previews);
    run_log_close(o->log);
    tfevents_close(o->events);
    *o = (observer){0};
}

size_t observer_bytes(const observer *o)
{
    return o->meter ? effect_bytes(o->meter) : 0;
}

leco_status observer_visit_prompts(const train_config *c, leco_status (*visit)(void *user, const char *, leco_error *),
                                   void *user, leco_error *err)
{
    LECO_TRY(effect_visit_prompts(c, visit, user, err));
    return previews_visit_prompts(c, visit, user, err);
}

double observer_samples_left(const observer *o, int64_t done)
{
    const int64_t total = o->config ? o->config->iterations : 0;
    double samples = 0;
    if (o->meter) {
        const int64_t every = effect_every(o->meter), figures = (total + every - 1) / every - done / every;
        samples += (double)effect_cost(o->meter) * (double)figures;
    }
    return samples + (o->previews ? (double)(previews_cost(o->previews) * previews_left(o->previews)) : 0);
}

/* ---- files ---- */

/* What can't be written is no reason to lose a training. */
static void give_up_log(observer *o, const leco_error *why)
{
    log_message(LOG_WARNING, "%s; the training goes on without its log", why->message);
    run_log_close(o->log);
    o->log = NULL;
}

static void give_up_events(observer *o, const leco_error *why)
{
    log_message(LOG_WARNING, "%s; the training goes on without TensorBoard", why->message);
    tfevents_close(o->events);
    o->events = NULL;
}

static leco_status open_log(observer *o, int64_t done, bool resumed, leco_error *err)
{
    const char *path = o->config->logging.log;
    char *folder = file_folder_of(path);
    leco_status status = folder ? file_make_folders(folder, err) : error_memory(err, strlen(path), "a path");
    mem_free(folder);
    if (status == LECO_OK) status = run_log_open(path, resumed ? done : -1, &o->log, err);
    return status;
}

static leco_status open_events(observer *o, int64_t done, bool resumed, leco_error *err)
{
    const logging_config *l = &o->config->logging;
    char *folder = file_join(l->tensorboard, l->run_name);
    char *path = folder ? file_join(folder, "events.out.tfevents.leco") : NULL;
    leco_status status = path ? file_make_folders(folder, err) : error_memory(err, strlen(l->tensorboard), "a path");
    if (status == LECO_OK) status = tfevents_open(path, resumed ? done + 1 : -1, &o->events, err);
    mem_free(folder);
    mem_free(path);
    return status;
}

static void write_events(observer *o, int64_t step, const tfevents_value *values, size_t count)
{
    tfevents_value known[8];
    size_t kept = 0;
    leco_error err;
    for (size_t i = 0; i < count; i++)
        if (values[i].png || isfinite(values[i].number)) known[kept++] = values[i];
    if (o->events && kept > 0 && tfevents_write(o->events, step, date_seconds(), known, kept, &err) != LECO_OK)
        give_up_events(o, &err);
}

static void write_effect(observer *o, int64_t step)
{
    const effect_figures *e = &o->effect;
    const tfevents_value values[] = {{.tag = "effect/effect", .number = e->effect},
                                     {.tag = "effect/moved", .number = e->moved},
                                     {.tag = "effect/kept", .number = e->kept},
                                     {.tag = "effect/neighbours", .number = e->neighbours},
                                     {.tag = "effect/unrelated", .number = e->unrelated}};
    write_events(o, step, values, sizeof values / sizeof *values);
}

static void write_step(observer *o, const step_figures *s)
{
    const tfevents_value values[] = {{.tag = "train/loss", .number = s->loss},
                                     {.tag = "train/loss_mean", .number = s->loss_mean},
                                     {.tag = "train/lr", .number = s->lr},
                                     {.tag = "train/grad_norm", .number = s->grad_norm}};
    write_events(o, s->step, values, sizeof values / sizeof *values);
}

/* The last step's line, which a figure that was measured since belongs to. */
static void write_pending(observer *o)
{
    leco_error err;
    const step_figures *s = &o->step;
    if (!o->pending) return;
    const bool measured = o->measured && o->effect_step == s->step;
    const bool due = s->step % o->config->logging.log_every == 0 || measured || s->step == o->config->iterations;
    o->pending = false;
    if (due && o->log && run_log_write(o->log, s, measured ? &o->effect : NULL, &err) != LECO_OK) give_up_log(o, &err);
    if (due && s->step > 0) write_step(o, s);
    if (measured) write_effect(o, s->step);
}

void observer_flush(observer *o)
{
    leco_error err;
    write_pending(o);
    if (o->log && run_log_flush(o->log, &err) != LECO_OK) give_up_log(o, &err);
}

/* ---- steps ---- */

bool observer_wants_steps(const observer *o)
{
    return o->log || o->events;
}

void observer_note(observer *o, const step_figures *s)
{
    const double keep = 1 - 1.0 / MEAN_STEPS;
    if (!o->config) return;
    write_pending(o);
    /* How much of a full mean there is so far. And float32's digits are all that the log gives back. */
    const double share = 1 - pow(keep, (double)(s->step - o->mean_begun - 1));
    o->loss_mean = (double)(float)((o->loss_mean * share * keep + s->loss * (1 - keep)) / (share * keep + (1 - keep)));
    o->step = *s;
    o->step.loss_mean = o->loss_mean;
    o->pending = true;
}

/* ---- looking ---- */

static leco_status measure(observer *o, int64_t done, const observer_watch *w, leco_error *err)
{
    const effect_watch watch = {w->went, w->user};
    effect_figures found;
    LECO_TRY(effect_measure(o->meter, &watch, &found, err));
    if (o->measured) o->previous_effect = o->effect.effect;
    o->effect = found;
    o->effect_step = done;
    o->measured = true;
    log_message(LOG_DEBUG, "effect after %lld steps: %.3f, moved %.3f; kept %.3f, neighbours %.3f, unrelated %.3f",
                (long long)done, found.effect, found.moved, found.kept, found.neighbours, found.unrelated);
    return LECO_OK;
}

/* At the first end of a trajectory at or behind each multiple. */
static bool measure_due(const observer *o, int64_t done, int64_t before)
{
    if (!o->meter || done == 0) return false;
    const int64_t every = effect_every(o->meter);
    return done / every > before / every;
}

/* An event for each picture. */
static leco_status show_picture(void *user, const char *prompt, double factor, const image *picture, leco_error *err)
{
    observer *o = user;
    tfevents_value v = {.width = picture->width, .height = picture->height};
    uint8_t *bytes;
    if (!o->events) return LECO_OK;
    char *tag = mem_printf("previews/%s at %g", prompt, factor);
    if (!tag) return error_memory(err, strlen(prompt), "a preview");
    leco_status status = png_encode("a preview", picture, &bytes, &v.png_size, err);
    v.tag = tag;
    v.png = bytes;
    if (status == LECO_OK) write_events(o, o->step.step, &v, 1);
    mem_free(bytes);
    mem_free(tag);
    return status;
}

/* The chain of who watches. */
typedef struct drawing {
    observer *observer;
    const observer_watch *watch;
} drawing;

static bool drawing_went(void *user, size_t samples)
{
    const drawing *d = user;
    return !d->watch->went || d->watch->went(d->watch->user, samples);
}

static leco_status drawing_drawn(void *user, const char *prompt, double factor, const image *picture, leco_error *err)
{
    return show_picture(((const drawing *)user)->observer, prompt, factor, picture, err);
}

static leco_status draw(observer *o, int64_t done, const observer_watch *w, leco_error *err)
{
    drawing d = {o, w};
    const previews_watch watch = {drawing_went, drawing_drawn, &d};
    o->step.step = done;
    leco_error why = {0};
    leco_status status = previews_draw(o->previews, done, &watch, &why);
    if (status == LECO_IO) {
        log_message(LOG_WARNING, "%s; the training goes on without previews", why.message);
        previews_close_for_good(o->previews);
        return LECO_OK;
    }
    if (status != LECO_OK) *err = why;
    return status;
}

leco_status observer_begin(observer *o, const observer_watch *w, leco_error *err)
{
    const effect_watch watch = {w->went, w->user};
    return o->meter ? effect_begin(o->meter, &watch, err) : LECO_OK;
}

static void note_reached(observer *o)
{
    const double goal = o->config->stop_at_effect;
    o->reached = goal > 0 && o->measured && o->effect.effect >= goal;
}

leco_status observer_start(observer *o, int64_t done, bool resumed, int64_t before, const observer_watch *w,
                           leco_error *err)
{
    const train_config *c = o->config;
    if (!c) return LECO_OK;
    if (c->logging.log) LECO_TRY(open_log(o, done, resumed, err));
    const double mean = o->log ? run_log_last_mean(o->log) : (double)NAN;
    o->loss_mean = isnan(mean) ? 0 : (double)(float)mean; /* nine digits give a float back, not a double */
    if (isnan(mean)) o->mean_begun = done;
    if (c->logging.tensorboard) LECO_TRY(open_events(o, done, resumed, err));
    if (resumed && o->previews) LECO_TRY(previews_resume(o->previews, done, err));
    if (o->meter) LECO_TRY(measure(o, done, w, err));
    const bool boundary = before >= 0;
    if (boundary && measure_due(o, done, before)) note_reached(o);
    o->step = (step_figures){.step = done};
    o->pending = !resumed && o->measured; /* those of a step that was written aren't written again */
    if (boundary && o->previews && previews_due(o->previews, done)) LECO_TRY(draw(o, done, w, err));
    write_pending(o);
    return LECO_OK;
}

leco_status observer_look(observer *o, int64_t done, int64_t before, const observer_watch *w, leco_error *err)
{
    if (measure_due(o, done, before)) {
        LECO_TRY(measure(o, done, w, err));
        note_reached(o);
    }
    if (o->previews && previews_due(o->previews, done)) LECO_TRY(draw(o, done, w, err));
    return LECO_OK;
}

leco_status observer_end(observer *o, int64_t done, const observer_watch *w, leco_error *err)
{
    if (o->meter && o->effect_step != done) LECO_TRY(measure(o, done, w, err));
    if (o->previews && !previews_done(o->previews, done)) LECO_TRY(draw(o, done, w, err));
    return LECO_OK;
}
