/* What a step is, for who watches. */
#include <math.h>

#include "train/trainer_internal.h"

double gradients_norm(const gradients_of_step *g, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)g->values[i] * (double)g->values[i];
    return fabs((double)g->scale) * sqrt(sum);
}

void trainer_note_latent(trainer *t, const source_pass *pass, size_t index)
{
    const lesson *l = &t->lessons[pass->objective];
    const source *s = l->source[pass->source];
    t->figures.entry = l->objective->place;
    t->figures.timestep = s->row->timestep(s, pass->kept[index]);
}

void trainer_note_step(trainer *t, const gradients_of_step *g, double lr)
{
    const bool wanted = observer_wants_steps(&t->observer);
    t->figures.step = optimizer_steps(t->optimizer) + 1;
    t->figures.lr = lr;
    t->figures.grad_norm = wanted ? gradients_norm(g, trainable_count(t->trainable)) : 0;
}
