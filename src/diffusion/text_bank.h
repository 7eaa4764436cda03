/* Text states by prompt: each prompt is encoded once, however often it is asked for. */
#ifndef LECO_DIFFUSION_TEXT_BANK_H
#define LECO_DIFFUSION_TEXT_BANK_H

#include "diffusion/runner.h"
#include "model/model.h"
#include "model/trainable.h"

typedef struct text_bank text_bank;

/* Builds the text encoder of m (weights loaded by the caller) with `adapters` (NULL: none). All outlive the bank. */
leco_status text_bank_create(const device *d, const model *m, const adapter_set *adapters, text_options options,
                             text_bank **out, leco_error *err);
void text_bank_destroy(text_bank *b); /* NULL is fine */

int64_t text_bank_tokens(const text_bank *b); /* of a prompt's states: 77 */

size_t text_bank_bytes(const text_bank *b); /* of the states, and of the encoder while it is there */

/* The final hidden states [tokens,width] of a prompt; owned by the bank, valid until clear or destroy. A prompt that is
 * too long is cut, with one warning in the log; the first that holds another program's prompt syntax gives one, too. */
leco_status text_bank_get(text_bank *b, const char *prompt, const float **states, leco_error *err);

/* Forgets all states, after an adapter of the text encoder changed. */
void text_bank_clear(text_bank *b);

/* Frees graph and session; what was encoded stays, and text_bank_get fails for other prompts. For programs that need
 * the memory. */
void text_bank_release_encoder(text_bank *b);

#endif
