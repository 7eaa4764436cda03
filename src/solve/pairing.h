/* Which state of a text becomes which: the word's own tokens, and all behind them, whose states tell of it as well. */
#ifndef LECO_SOLVE_PAIRING_H
#define LECO_SOLVE_PAIRING_H

#include "solve/contexts.h"
#include "solve/text_states.h"

/* A text with its states. */
typedef struct encoded_text {
    placed_text place;
    float *states; /* [tokens, width]; the arena's */
} encoded_text;

/* Encodes texts [count] whose places are known: of each, the first text_states_tokens ids. */
leco_status encode_texts(text_states *s, encoded_text *text, size_t count, arena *memory, leco_error *err);

/* Pairs of states, column by column: c becomes g. */
typedef struct state_pairs {
    float *c, *g;  /* [width, count] */
    float *weight; /* [count]: for how many states of the whole sequence each stands */
    size_t count;
} state_pairs;

/* Pairs a text with the same text with another word in that place. Of several words the last one counts: what a causal
 * encoder makes of those before is the same in other company, the "red" of "red star" that of "red heart". Of a word of
 * several tokens that becomes one of fewer, the last ones become that one's last; no word at all is the token before
 * it. All behind the word is paired one by one, with g's last state from where g's end. `length` is that of a whole
 * sequence (77): the last state stands for the padding that wasn't computed. */
leco_status pair_states(const encoded_text *c, const encoded_text *g, size_t tokens, size_t width, size_t length,
                        arena *memory, state_pairs *out, leco_error *err);

/* The weights [tokens] of a text's states one by one, by the same rule. */
void state_weights(size_t tokens, size_t length, float *out);

#endif
