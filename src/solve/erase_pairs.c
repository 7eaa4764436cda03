#include "solve/erase_internal.h"

leco_status erase_each_pair(solver *s, const subject *c,
                            leco_status (*use)(solver *s, const state_pairs *p, void *user), void *user)
{
    const size_t width = (size_t)s->readers.width, length = tokenizer_length(s->model->tokenizer);
    double shares = 0;
    for (size_t k = 0; k < c->target_count; k++) shares += c->targets[k].share;
    for (size_t k = 0; k < c->target_count; k++) {
        for (size_t i = 0; i < c->at.count; i++) {
            arena *scratch = arena_create();
            state_pairs p;
            leco_status status =
                scratch ? pair_states(&c->text[i], &c->target[k][i], s->tokens, width, length, scratch, &p, s->err)
                        : error_memory(s->err, 0, "text states");
            const float share = (float)(c->targets[k].share / shares);
            for (size_t n = 0; status == LECO_OK && n < p.count; n++) p.weight[n] *= share;
            if (status == LECO_OK) status = use(s, &p, user);
            arena_destroy(scratch);
            LECO_TRY(status);
        }
    }
    return LECO_OK;
}
