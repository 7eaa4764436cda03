/* The keys of `train` that say how to learn from a gradient, together: optimizer, rate, average, loss. */
#include <math.h>

#include "base/log.h"
#include "train/config_internal.h"
#include "train/config_keys.h"

/* A rule that finds the rate by itself wants a factor of about 1: sd-scripts warns at 0.1, too. */
#define LEAST_FACTOR 0.1

static leco_status check_rates(const train_config *c, leco_error *err)
{
    const lr_plan *r = &c->rates;
    if (r->warmup >= 1 && r->warmup != floor(r->warmup))
        return config_wrong(c, "train.lr_warmup_steps", err,
                            "expected a whole number of steps, or a share below 1, found %g", r->warmup);
    if (r->schedule == LR_CONSTANT_WITH_WARMUP && r->warmup == 0)
        return config_wrong(c, "train.lr_scheduler", err, "constant_with_warmup needs lr_warmup_steps");
    if (r->schedule == LR_POLYNOMIAL && c->lr <= LR_POLYNOMIAL_END)
        return config_wrong(c, "train.lr_scheduler", err, "polynomial ends at %g, and lr is %g", LR_POLYNOMIAL_END,
                            c->lr);
    return LECO_OK;
}

/* Keys that say nothing to what the others choose: whoever sets them expects something. */
static leco_status check_idle(const train_config *c, leco_error *err)
{
    const bool huber = c->loss != LOSS_MSE;
    if (c->rates.schedule != LR_POLYNOMIAL && c->rates.power != 1)
        return config_wrong(c, "train.lr_scheduler_power", err, "only polynomial has one, not %s",
                            lr_schedule_rows[c->rates.schedule].name);
    if (!huber && (c->huber_c != 0.1 || c->huber_schedule != HUBER_SNR))
        return config_wrong(c, c->huber_c != 0.1 ? "train.huber_c" : "train.huber_schedule", err,
                            "the loss mse has none; huber and smooth_l1 do");
    if (huber && c->huber_schedule != HUBER_CONSTANT && c->huber_c > 1)
        return config_wrong(c, "train.huber_c", err,
                            "expected at most 1, which the schedule begins at, found %g; with "
                            "huber_schedule constant it may be more",
                            c->huber_c);
    return LECO_OK;
}

static void tell(const train_config *c)
{
    const optimizer_row *row = optimizer_rows[c->optimizer.kind];
    const char *place = train_config_place(c, "train.optimizer");
    if (c->optimizer.narrow)
        log_message(LOG_INFO, "%s: train.optimizer: %s is taken as %s: here its states have 32 bits", place,
                    c->optimizer.narrow, row->name);
    if (row->own_rate && row->own_rate(&c->optimizer))
        log_message(LOG_INFO,
                    "%s: train.optimizer: %s has a rate of its own (relative_step=True): lr, lr_scheduler and "
                    "lr_warmup_steps mean nothing",
                    place, row->name);
    if (row->finds_rate && c->lr <= LEAST_FACTOR)
        log_message(LOG_WARNING,
                    "%s: train.lr: %s finds the rate by itself and multiplies it by lr: with %g little will be learnt; "
                    "1 is usual",
                    train_config_place(c, "train.lr"), row->name, c->lr);
}

leco_status config_settle_learning(train_config *c, leco_error *err)
{
    leco_status status = c->optimizer_args ? optimizer_parse(&c->optimizer, c->optimizer_args, err) : LECO_OK;
    if (status != LECO_OK)
        return error_prefix(err, status, "%s: train.optimizer_args", train_config_place(c, "train.optimizer_args"));
    LECO_TRY(check_rates(c, err));
    LECO_TRY(check_idle(c, err));
    if (c->ema_decay > 0 && optimizer_averages(&c->optimizer))
        return config_wrong(c, "train.ema_decay", err, "%s gives an average already",
                            optimizer_rows[c->optimizer.kind]->name);
    tell(c);
    return LECO_OK;
}
