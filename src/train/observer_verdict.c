/* What the figures of a training's effect mean for whoever set its keys. */
#include <math.h>
#include <stdio.h>

#include "base/log.h"
#include "train/modes.h"
#include "train/observer.h"

/* Of what is asked for, over a guidance_scale above 1, which asks for more than there is to see: below the first a
 * picture hardly changes, above the second it goes too far. And how far other prompts may move, in the same unit
 * (docs/config.md, "The effect", has what these are taken from). */
#define HARDLY 0.2
#define BEYOND 1.3
#define OTHERS 0.35

/* Guidance that is learnt: pictures are as they should be long before predictions are (docs/config.md, "The effect").
 */
static bool is_guidance(const train_config *c)
{
    for (size_t i = 0; i < c->prompt_count; i++)
        if (c->prompt[i].action->unguided) return true;
    return false;
}

static void judge_effect(const observer *o)
{
    const train_config *c = o->config;
    const double e = o->effect.effect, before = o->previous_effect;
    const bool grows = isfinite(before) && e > before + 0.02 && e > 1.15 * before;
    const bool embedding = c->network.kind == &kind_embedding;
    const double scale = c->prompt_count > 0 ? fabs(c->prompt[0].guidance_scale) : 1, hardly = HARDLY / fmax(1, scale);
    if (e < hardly && grows)
        log_message(
            LOG_WARNING,
            "hardly any effect: %.0f%% of what is asked for, and still growing: more train.iterations (%lld), or a "
            "higher train.lr (%g)",
            100 * fmax(e, 0), (long long)c->iterations, c->lr);
    else if (e < hardly)
        log_message(
            LOG_WARNING,
            "hardly any effect: %.0f%% of what is asked for: a higher train.lr (%g), more train.iterations (%lld)%s",
            100 * fmax(e, 0), c->lr, (long long)c->iterations,
            embedding ? ", or more network.vectors" : ", or a higher network.rank or another training_method");
    else if (c->stop_at_effect > 0 && e < c->stop_at_effect)
        log_message(LOG_WARNING,
                    "the effect is %.2f, less than train.stop_at_effect: more train.iterations, or a higher "
                    "train.lr, would get there",
                    e);
    else if (e > BEYOND)
        log_message(LOG_WARNING,
                    "the effect is %.2f times what is asked for: a lower train.lr (%g), fewer train.iterations, or "
                    "train.stop_at_effect: 1",
                    e, c->lr);
}

/* Does everything that is trained leave other prompts alone, if all is well? */
static bool others_should_stay(const train_config *c)
{
    for (size_t i = 0; i < c->prompt_count; i++)
        if (c->prompt[i].action->mirrored || c->prompt[i].action->unguided || !*c->prompt[i].target) return false;
    return true;
}

static void judge_others(const observer *o)
{
    const train_config *c = o->config;
    const effect_figures *e = &o->effect;
    const struct {
        const char *name;
        double moved;
    } groups[] = {{"what is preserved", e->kept}, {"near words", e->neighbours}, {"unrelated prompts", e->unrelated}};
    size_t worst = 0;
    double most = 0;
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (isfinite(groups[i].moved) && groups[i].moved > most) most = groups[i].moved, worst = i;
    if (most < OTHERS || !others_should_stay(c)) return;
    log_message(LOG_WARNING, "other prompts moved, too: %s by %.2f of what the targets were asked to: %s",
                groups[worst].name, most,
                !c->preserve.prompt
                    ? "`preserve` with prompts like them holds them; a lower train.lr, or training_method: "
                      "xattn-strict, moves less"
                    : "a higher preserve.share or preserve.weight, or a lower train.lr, holds them");
}

void observer_judge(const observer *o, int64_t done)
{
    if (!o->measured || done == 0) return;
    if (isfinite(o->effect.effect) && !is_guidance(o->config)) judge_effect(o);
    judge_others(o);
}
