/* The states that a model's text encoders make of many texts, for edits: several at a time, and no further along than
 * needed.
 *
 * A causal encoder's states depend on what stands before them only, so a text's first `tokens` states are the same
 * whether or not the padding behind is computed. */
#ifndef LECO_SOLVE_TEXT_STATES_H
#define LECO_SOLVE_TEXT_STATES_H

#include "diffusion/runner.h"
#include "model/model.h"

typedef struct text_states text_states;

/* Sequences of `tokens` ids, at most tokenizer_length. m's text encoders are loaded (model_load); it and the device
 * outlive this. Two tokenizers of different vocabularies are LECO_UNSUPPORTED. On failure *out is NULL. */
leco_status text_states_create(const device *d, const model *m, int64_t tokens, text_states **out, leco_error *err);
void text_states_destroy(text_states *s); /* NULL is fine */

int64_t text_states_tokens(const text_states *s);
int64_t text_states_width(const text_states *s); /* model_text_width */

/* states [count, tokens, width] of the first tokenizer's ids [count, tokens]; a second encoder gets its own padding. */
leco_status text_states_run(text_states *s, const int32_t *ids, size_t count, float *states, leco_error *err);

#endif
