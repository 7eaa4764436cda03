#include "solve/erase_internal.h"

/* What the states of a text become: those of each target by its share, added up. Which states of c these are doesn't
 * depend on the target. */
static leco_status mix(const solver *s, const subject *c, size_t index, double shares, arena *scratch, state_pairs *out)
{
    const size_t width = (size_t)s->readers.width, length = tokenizer_length(s->model->tokenizer);
    for (size_t k = 0; k < c->target_count; k++) {
        state_pairs p;
        LECO_TRY(pair_states(&c->text[index], &c->target[k][index], s->tokens, width, length, scratch, &p, s->err));
        if (k == 0) *out = p;
        const float share = (float)(c->targets[k].share / shares);
        for (size_t i = 0; i < p.count * width; i++) out->g[i] = (k ? out->g[i] : 0) + share * p.g[i];
    }
    return LECO_OK;
}

leco_status erase_each_pair(solver *s, const subject *c,
                            leco_status (*use)(solver *s, const state_pairs *p, void *user), void *user)
{
    double shares = 0;
    for (size_t k = 0; k < c->target_count; k++) shares += c->targets[k].share;
    for (size_t i = 0; i < c->at.count; i++) {
        arena *scratch = arena_create();
        state_pairs p = {0};
        leco_status status = scratch ? mix(s, c, i, shares, scratch, &p) : error_memory(s->err, 0, "text states");
        if (status == LECO_OK) status = use(s, &p, user);
        arena_destroy(scratch);
        LECO_TRY(status);
    }
    return LECO_OK;
}
