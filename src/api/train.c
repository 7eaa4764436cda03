#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "api/locale.h"
#include "api/train_modules.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/number.h"
#include "base/utf8.h"
#include "solve/concepts.h"
#include "solve/neighbours.h"
#include "solve/start.h"
#include "train/save.h"
#include "train/trainer.h"

void leco_train_report_free(leco_train_report *report)
{
    mem_free(report->path);
    mem_free(report->writes);
    mem_free(report->state);
    mem_free(report->summary);
    mem_free(report->modules);
    *report = (leco_train_report){0};
}

static leco_effect effect_of(const effect_figures *e)
{
    return (leco_effect){number_shown(e->effect), number_shown(e->moved), number_shown(e->kept),
                         number_shown(e->neighbours), number_shown(e->unrelated)};
}

static bool forward_progress(void *user, const train_progress *p)
{
    const leco_train_options *o = user;
    const leco_effect effect = p->effect ? effect_of(p->effect) : (leco_effect){0};
    const leco_progress out = {.what = "training",
                               .done = p->done,
                               .total = p->total,
                               .seconds = p->seconds,
                               .seconds_left = p->seconds_left,
                               .loss = number_shown(p->loss),
                               .saved = p->saved,
                               .part = "denoising",
                               .part_done = p->denoised,
                               .part_total = p->denoised_total,
                               .effect = p->effect ? &effect : NULL};
    IN_HOST_LOCALE;
    return o->progress(o->user, &out);
}

static leco_status check_budget(const trainer *t, uint64_t budget, leco_error *err)
{
    const double mib = 1024.0 * 1024.0;
    const memory_use use = trainer_planned(t);
    if (budget == 0 || memory_total(&use) <= budget) return LECO_OK;
    char *parts = memory_text(&use);
    if (!parts) return error_memory(err, 0, "a message");
    leco_status status =
        error_set(err, LECO_MEMORY,
                  "the budget of %.1f MiB is %.1f MiB too little: this training needs %s, with all activations "
                  "computed again that can be; a smaller resolution, batch_size or rank needs less",
                  (double)budget / mib, (double)(memory_total(&use) - budget) / mib, parts);
    mem_free(parts);
    return status;
}

/* Takes what was planned; where the config asks for it, the adapter starts from a closed form, which is solved before
 * the training takes its memory. One that is resumed has started. */
static leco_status prepare(trainer *t, const train_config *c, const leco_train_options *o, leco_error *err)
{
    if (!start_is_asked_for(c) || o->resume) return trainer_prepare(t, err);
    trainable *start;
    LECO_TRY(start_solve(c, o->device, &start, err));
    leco_status status = trainer_prepare(t, err);
    const size_t copied = status == LECO_OK ? start_copy(start, trainer_trainable(t)) : 0;
    const size_t all = trainable_module_count(start);
    if (status == LECO_OK && copied < all)
        log_message(LOG_WARNING,
                    "%s: network.init: of the %zu layers that the closed form changes (attn2's to_k and to_v), this "
                    "training has %zu: %s",
                    train_config_place(c, "network.init"), all, copied,
                    copied ? "the others stay as they are" : "it begins at zero");
    trainable_destroy(start);
    return status;
}

/* Where memory ran out: what was planned stands beside what is missing. */
static leco_status explain_memory(const memory_use *planned, leco_status status, leco_error *err)
{
    char *parts = status == LECO_MEMORY && err ? memory_text(planned) : NULL;
    if (parts)
        error_set(err, LECO_MEMORY,
                  "%s; this training was planned to take %s; --memory with a smaller size has activations computed "
                  "again, a smaller resolution, batch_size or rank needs less",
                  err->message, parts);
    mem_free(parts);
    return status;
}

/* Goes on from the state that is there, or warns that it will be lost. */
static leco_status resume(trainer *t, const train_config *c, const leco_train_options *o, leco_error *err)
{
    char *path = save_state_name(c);
    if (!path) return error_memory(err, 0, "a file's name");
    leco_status status = o->resume ? trainer_resume(t, path, err) : LECO_OK;
    if (!o->resume && !o->dry_run && file_exists(path))
        log_message(LOG_WARNING,
                    "%s is of an earlier training: --resume would go on with it; this one begins anew and "
                    "replaces it",
                    path);
    mem_free(path);
    return status;
}

static leco_status train(trainer *t, const train_config *c, const leco_train_options *o, leco_train_report *report,
                         leco_error *err)
{
    LECO_TRY(check_budget(t, o->memory, err));
    memory_use use = trainer_planned(t);
    report->planned_bytes = memory_total(&use);
    report->summary = trainer_summary(t);
    if (!report->summary) return error_memory(err, 0, "the summary");
    utf8_tidy(report->summary, true); /* it shows a prompt */
    report->resident_bytes = mem_peak_resident();
    if (!(report->writes = save_name(c))) return error_memory(err, 0, "a file's name");
    LECO_TRY(save_check_room(c, trainable_count(trainer_trainable(t)), err));
    if (start_is_asked_for(c)) LECO_TRY(start_check(c, err));
    LECO_TRY(resume(t, c, o, err));
    if (o->dry_run) return train_modules_text(trainer_trainable(t), &report->modules, err);
    LECO_TRY(explain_memory(&use, prepare(t, c, o, err), err));
    train_result result = {0};
    leco_train_options copy = *o;
    leco_status status = trainer_run(t, o->progress ? forward_progress : NULL, &copy, &result, err);
    report->path = result.path;
    report->state = result.state;
    report->iterations = result.iterations;
    report->seconds = result.seconds;
    report->effect = effect_of(&result.effect);
    report->effect_step = result.effect_step;
    report->first_loss = number_shown(result.first_loss);
    report->last_loss = number_shown(result.last_loss);
    use = trainer_allocated(t);
    report->measured_bytes = memory_total(&use);
    report->resident_bytes = mem_peak_resident();
    return status;
}

leco_status leco_train(const char *config, const leco_train_options *options, leco_train_report *report,
                       leco_error *err)
{
    IN_C_LOCALE;
    const leco_train_options defaults = {0};
    const leco_train_options *o = options ? options : &defaults;
    train_config c;
    trainer *t;
    const double none = NAN;
    leco_train_report made = {.first_loss = none, .last_loss = none, .effect = {none, none, none, none, none}};
    logging_others others = {0};
    LECO_TRY(train_config_read(config, o->overrides, o->override_count, &c, err));
    c.embeddings = o->embeddings;
    c.embedding_count = o->embedding_count;
    if (c.verbose) log_raise_debug(true);
    save_claim claim = {0};
    leco_status status = save_check(&c, err);
    if (status == LECO_OK && !o->dry_run) status = save_claim_take(&c, &claim, err);
    c.logging.others = &others;
    c.logging.find = neighbours_find;
    if (status == LECO_OK) status = concepts_complete(&c, o->device, err);
    if (status == LECO_OK) status = trainer_plan(&c, o->device, o->memory, &t, err);
    if (status == LECO_OK) {
        status = train(t, &c, o, &made, err);
        trainer_destroy(t);
    }
    save_claim_give_back(&claim);
    neighbours_free(&others);
    log_raise_debug(false);
    train_config_free(&c);
    if (status == LECO_OK || status == LECO_INTERRUPTED || status == LECO_DEVICE)
        *report = made;
    else
        leco_train_report_free(&made);
    return status;
}

leco_status leco_train_keys(bool markdown, char **text, leco_error *err)
{
    IN_C_LOCALE;
    return train_config_keys(markdown, text, err);
}
