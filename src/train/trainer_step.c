/* From gradients to an optimizer step; and what is given in place of what is trained, where these differ. */
#include <math.h>
#include <string.h>

#include "train/trainer_internal.h"

/* The scale that makes the gradient [count] at most `longest` (0: as long as it is), as torch's clip_grad_norm_ has it,
 * 1e-6 included. One that isn't finite stays so, and is found out as it would be without. */
static float clipped(const gradients_of_step *g, size_t count, double longest)
{
    if (longest == 0) return g->scale;
    const double norm = gradients_norm(g, count);
    return (float)((double)g->scale * fmin(1, longest / (norm + 1e-6)));
}

/* Adds to what was gathered since the last step; true where that makes a step. */
static bool gather(trainer *t, gradients_of_step *g)
{
    const size_t count = trainable_count(t->trainable);
    if (!t->gathered) return true;
    for (size_t i = 0; i < count; i++)
        t->gathered[i] = (t->gathered_count == 0 ? 0 : t->gathered[i]) + g->scale * g->values[i];
    *g = (gradients_of_step){t->gathered, (float)(1 / (double)t->config->accumulation)};
    return ++t->gathered_count == t->config->accumulation;
}

/* As diffusers' EMAModel without use_ema_warmup: after step n the decay is min(decay, n / (n + 9)), and 0 after the
 * first. */
static void move_average(trainer *t)
{
    const double n = (double)optimizer_steps(t->optimizer), warm = n > 1 ? n / (n + 9) : 0;
    const float rest = (float)(1 - fmin(t->config->ema_decay, warm));
    const float *values = trainable_values(t->trainable);
    const size_t count = trainable_count(t->trainable);
    for (size_t i = 0; i < count; i++) t->average[i] -= rest * (t->average[i] - values[i]);
}

void trainer_step(trainer *t, gradients_of_step g, double loss)
{
    const train_config *c = t->config;
    t->gathered_loss += loss;
    if (!gather(t, &g)) return;
    if (t->average && optimizer_steps(t->optimizer) == 0)
        memcpy(t->average, trainable_values(t->trainable), trainable_count(t->trainable) * sizeof *t->average);
    const double lr = lr_at(&c->rates, c->lr, optimizer_steps(t->optimizer), c->iterations);
    trainer_note_step(t, &g, lr);
    optimizer_step(t->optimizer, g.values, clipped(&g, trainable_count(t->trainable), c->max_grad_norm), lr);
    trainable_changed(t->trainable);
    if (t->average) move_average(t);
    t->loss = t->gathered_loss / (double)c->accumulation;
    t->gathered_loss = 0;
    t->gathered_count = 0;
}

bool trainer_has_average(const train_config *c)
{
    return c->ema_decay > 0 || optimizer_averages(&c->optimizer);
}

void trainer_show(trainer *t)
{
    float *values = trainable_values(t->trainable);
    const size_t count = trainable_count(t->trainable);
    if (!t->aside || t->shown || optimizer_steps(t->optimizer) == 0) return;
    if (t->average)
        memcpy(t->aside, t->average, count * sizeof *values);
    else
        optimizer_average(t->optimizer, t->aside);
    for (size_t i = 0; i < count; i++) {
        const float trained = values[i];
        values[i] = t->aside[i];
        t->aside[i] = trained;
    }
    trainable_changed(t->trainable);
    t->shown = true;
}

void trainer_hide(trainer *t)
{
    if (!t->shown) return;
    memcpy(trainable_values(t->trainable), t->aside, trainable_count(t->trainable) * sizeof(float));
    trainable_changed(t->trainable);
    t->shown = false;
}
