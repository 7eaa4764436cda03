#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "api/locale.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/number.h"
#include "base/utf8.h"
#include "train/trainer.h"

void leco_train_report_free(leco_train_report *report)
{
    mem_free(report->path);
    mem_free(report->summary);
    *report = (leco_train_report){0};
}

static bool forward_progress(void *user, const train_progress *p)
{
    const leco_train_options *o = user;
    const leco_progress out = {.what = "training",
                               .done = p->done,
                               .total = p->total,
                               .seconds = p->seconds,
                               .seconds_left = p->seconds_left,
                               .loss = number_shown(p->loss),
                               .saved = p->saved};
    IN_HOST_LOCALE;
    return o->progress(o->user, &out);
}

static leco_status check_budget(const trainer *t, uint64_t budget, leco_error *err)
{
    const double mib = 1024.0 * 1024.0;
    const memory_use use = trainer_planned(t);
    if (budget == 0 || memory_total(&use) <= budget) return LECO_OK;
    return error_set(err, LECO_MEMORY,
                     "this training needs %.1f MiB (weights %.1f, activations %.1f, adapter %.1f, optimizer %.1f), the "
                     "budget is %.1f MiB: %.1f MiB too little; a smaller resolution, batch_size or rank needs less",
                     (double)memory_total(&use) / mib, (double)use.weights / mib, (double)use.activations / mib,
                     (double)use.adapter / mib, (double)use.optimizer / mib, (double)budget / mib,
                     (double)(memory_total(&use) - budget) / mib);
}

static leco_status train(trainer *t, const leco_train_options *o, leco_train_report *report, leco_error *err)
{
    LECO_TRY(check_budget(t, o->memory, err));
    memory_use use = trainer_planned(t);
    report->planned_bytes = memory_total(&use);
    report->summary = trainer_summary(t);
    if (!report->summary) return error_memory(err, 0, "the summary");
    utf8_tidy(report->summary, true); /* it shows a prompt */
    leco_status status = LECO_OK;
    if (!o->dry_run) {
        train_result result = {0};
        leco_train_options copy = *o;
        status = trainer_run(t, o->progress ? forward_progress : NULL, &copy, &result, err);
        report->path = result.path;
        report->iterations = result.iterations;
        report->seconds = result.seconds;
        report->first_loss = number_shown(result.first_loss);
        report->last_loss = number_shown(result.last_loss);
    }
    use = trainer_allocated(t);
    report->measured_bytes = memory_total(&use);
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
    leco_train_report made = {0};
    LECO_TRY(train_config_read(config, o->overrides, o->override_count, &c, err));
    leco_status status = trainer_create(&c, o->device, &t, err);
    if (status == LECO_OK) {
        status = train(t, o, &made, err);
        trainer_destroy(t);
    }
    train_config_free(&c);
    if (status == LECO_OK || status == LECO_INTERRUPTED)
        *report = made;
    else
        leco_train_report_free(&made);
    return status;
}
