#include "train/run_log.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/log.h"
#include "base/mem.h"
#include "format/json.h"

#define FLUSH_SECONDS 1.0

struct run_log {
    char *path;
    FILE *file;
    double flushed; /* when */
    double mean;    /* the loss's, in the last line that was there and had one; NAN: none had */
};

double run_log_last_mean(const run_log *l)
{
    return l->mean;
}

/* ---- going on ---- */

/* The step of a whole line; -1: it is none of a log. *mean becomes its loss's, where it has one. */
static int64_t step_of(const char *line, size_t length, double *mean)
{
    json_error_t problem;
    json_t *object = json_parse(line, length, 0, &problem);
    const json_t *step = json_object_get(object, "step");
    const int64_t found = json_is_integer(step) ? (int64_t)json_integer_value(step) : -1;
    if (json_is_number(json_object_get(object, "loss_mean")))
        *mean = json_number_value(json_object_get(object, "loss_mean"));
    json_decref(object);
    return found;
}

/* Where what is to stay ends: before the first line of a later step, or one that was cut off. Damaged lines stay, too;
 * a file of nothing else is somebody else's. */
static leco_status find_end(FILE *file, const char *path, int64_t done, long *end, double *mean, leco_error *err)
{
    double one = NAN;
    char *line = NULL;
    size_t room = 0, number = 0, strange = 0, first_strange = 0;
    ssize_t length;
    *end = 0;
    while ((length = getline(&line, &room, file)) > 0 && line[length - 1] == '\n') {
        const int64_t step = step_of(line, (size_t)length, &one);
        number++;
        if (step < 0 && strange++ == 0) first_strange = number;
        if (step > done) break;
        *end += length;
        *mean = one;
    }
    free(line); /* the C library's */
    if (strange > 0 && strange == number)
        return error_set(err, LECO_FORMAT, "%s:1: is no line of a log that leco wrote, so nothing can be added to it",
                         path);
    if (strange > 0)
        log_message(LOG_WARNING, "%s:%zu: is no line of a log that leco wrote, and is left as it is", path,
                    first_strange);
    return LECO_OK;
}

static leco_status cut(const char *path, int64_t done, double *mean, leco_error *err)
{
    long end;
    FILE *file = fopen(path, "r");
    if (!file && errno == ENOENT) return LECO_OK;
    if (!file) return error_errno(err, path, "cannot read", errno);
    leco_status status = find_end(file, path, done, &end, mean, err);
    fclose(file);
    if (status == LECO_OK && truncate(path, end) != 0) status = error_errno(err, path, "cannot write", errno);
    return status;
}

/* ---- opening ---- */

leco_status run_log_open(const char *path, int64_t done, run_log **out, leco_error *err)
{
    *out = NULL;
    double mean = NAN;
    if (done >= 0) LECO_TRY(cut(path, done, &mean, err));
    run_log *l = mem_calloc(1, sizeof *l);
    if (!l || !(l->path = mem_strdup(path))) {
        run_log_close(l);
        return error_memory(err, sizeof *l, "the log");
    }
    l->file = fopen(path, done >= 0 ? "ae" : "we");
    if (!l->file) {
        leco_status status = error_errno(err, path, "cannot write", errno);
        run_log_close(l);
        return status;
    }
    l->mean = mean;
    *out = l;
    return LECO_OK;
}

void run_log_close(run_log *l)
{
    if (!l) return;
    if (l->file) fclose(l->file);
    mem_free(l->path);
    mem_free(l);
}

/* ---- writing ---- */

static bool set_number(json_t *object, const char *key, double value)
{
    return json_object_set_new(object, key, isfinite(value) ? json_real(value) : json_null()) == 0;
}

static bool set_step(json_t *object, const step_figures *s)
{
    if (json_object_set_new(object, "step", json_integer(s->step)) != 0) return false;
    if (s->step == 0) return set_number(object, "seconds", s->seconds);
    return set_number(object, "loss", s->loss) && set_number(object, "loss_mean", s->loss_mean) &&
           set_number(object, "lr", s->lr) && set_number(object, "grad_norm", s->grad_norm) &&
           json_object_set_new(object, "entry", json_string(s->entry)) == 0 &&
           set_number(object, "timestep", s->timestep) && set_number(object, "seconds", s->seconds);
}

static bool set_effect(json_t *object, const effect_figures *e)
{
    return !e || (set_number(object, "effect", e->effect) && set_number(object, "moved", e->moved) &&
                  set_number(object, "kept", e->kept) && set_number(object, "neighbours", e->neighbours) &&
                  set_number(object, "unrelated", e->unrelated));
}

leco_status run_log_write(run_log *l, const step_figures *s, const effect_figures *effect, leco_error *err)
{
    json_t *object = json_object();
    const bool made = object && set_step(object, s) && set_effect(object, effect);
    char *line = made ? json_dumps(object, JSON_REAL_PRECISION(9) | JSON_ENSURE_ASCII) : NULL;
    json_decref(object);
    if (!line) return error_memory(err, 0, "a line of the log");
    const bool written = fprintf(l->file, "%s\n", line) > 0;
    const int why = errno;
    free(line); /* jansson's */
    if (!written) return error_errno(err, l->path, "cannot write", why);
    return cpu_seconds() - l->flushed < FLUSH_SECONDS ? LECO_OK : run_log_flush(l, err);
}

leco_status run_log_flush(run_log *l, leco_error *err)
{
    l->flushed = cpu_seconds();
    return fflush(l->file) == 0 ? LECO_OK : error_errno(err, l->path, "cannot write", errno);
}
