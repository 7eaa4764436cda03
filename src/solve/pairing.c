#include "solve/pairing.h"

#include <string.h>

leco_status encode_texts(text_states *s, encoded_text *text, size_t count, arena *memory, leco_error *err)
{
    const size_t tokens = (size_t)text_states_tokens(s), each = tokens * (size_t)text_states_width(s);
    int32_t *ids = arena_alloc(memory, count, tokens * sizeof *ids);
    float *states = arena_alloc(memory, count, each * sizeof *states);
    if (!ids || !states) return error_memory(err, count * each * sizeof *states, "text states");
    for (size_t i = 0; i < count; i++) {
        memcpy(ids + i * tokens, text[i].place.ids, tokens * sizeof *ids);
        text[i].states = states + i * each;
    }
    return text_states_run(s, ids, count, states, err);
}

void state_weights(size_t tokens, size_t length, float *out)
{
    for (size_t i = 0; i < tokens; i++) out[i] = 1;
    out[tokens - 1] = (float)(length - tokens + 1);
}

/* Which state of g the state at `i` of c becomes. */
static size_t partner(const placed_text *c, const placed_text *g, size_t i)
{
    if (i >= c->from + c->length) return i - c->length + g->length;
    if (g->length == 0) return g->from - 1;
    const size_t nth = i - c->from - c->lead + g->lead;
    return g->from + (nth < g->length ? nth : g->length - 1);
}

leco_status pair_states(const encoded_text *c, const encoded_text *g, size_t tokens, size_t width, size_t length,
                        arena *memory, state_pairs *out, leco_error *err)
{
    *out = (state_pairs){.c = arena_alloc(memory, tokens, width * sizeof *out->c),
                         .g = arena_alloc(memory, tokens, width * sizeof *out->g),
                         .weight = arena_alloc(memory, tokens, sizeof *out->weight)};
    float *of_state = arena_alloc(memory, tokens, sizeof *of_state);
    if (!out->c || !out->g || !out->weight || !of_state)
        return error_memory(err, 2 * tokens * width * sizeof *out->c, "text states");
    state_weights(tokens, length, of_state);
    for (size_t i = c->place.from + c->place.lead; i < tokens; i++) {
        const size_t other = partner(&c->place, &g->place, i), n = out->count;
        const size_t j = other < tokens ? other : tokens - 1;
        memcpy(out->c + n * width, c->states + i * width, width * sizeof *out->c);
        memcpy(out->g + n * width, g->states + j * width, width * sizeof *out->g);
        out->weight[n] = of_state[i];
        out->count++;
    }
    return LECO_OK;
}
