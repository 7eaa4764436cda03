/* CLIP's byte-level BPE tokenizer: text to token ids, as transformers' CLIPTokenizer gives them where ftfy isn't
 * installed (diffusers and ComfyUI by default).
 *
 * Special tokens are cut out of the text; what is between them is cleaned (text_clean.h), split into words by CLIP's
 * pattern, and each word's bytes are merged by rank (bpe.h). Source: openai/CLIP simple_tokenizer.py; Sennrich et al.,
 * "Neural machine translation of rare words with subword units" (2016). */
#ifndef LECO_MODEL_TOKENIZER_H
#define LECO_MODEL_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct tokenizer tokenizer;

/* Reads FOLDER/vocab.json and merges.txt, or where both are missing tokenizer.json, and, where present, what else
 * transformers' CLIPTokenizer reads: names of tokens and model_max_length from tokenizer_config.json, and, unless that
 * lists its added tokens, special_tokens_map.json, added_tokens.json and the added tokens of tokenizer.json, with the
 * ids that they give to tokens beyond vocab.json. On failure *out is NULL. */
leco_status tokenizer_open(const char *folder, tokenizer **out, leco_error *err);
/* CLIP's own, which is built in; pad: the token that short texts are filled up with, NULL: the end token. */
leco_status tokenizer_open_clip(const char *pad, tokenizer **out, leco_error *err);
void tokenizer_close(tokenizer *t); /* NULL is fine */

size_t tokenizer_length(const tokenizer *t);     /* ids of a sequence, with start, end and padding: 77 */
size_t tokenizer_vocabulary(const tokenizer *t); /* one more than the highest id of the folder's */
int32_t tokenizer_start(const tokenizer *t);
int32_t tokenizer_end(const tokenizer *t);
int32_t tokenizer_pad(const tokenizer *t);

/* ids [tokenizer_length]: start, the text's tokens, end, padding. Longer text is cut, keeping the end token. *needed
 * (may be NULL) gets the length that the text would need, with start and end: more than tokenizer_length means it was
 * cut. Text that isn't valid UTF-8, or is longer than 64 KiB, is LECO_INVALID. */
leco_status tokenizer_encode(const tokenizer *t, const char *text, size_t size, int32_t *ids, size_t *needed,
                             leco_error *err);

/* Makes a word of prompts the ids [first, first + count): an embedding's. It is found in any letters, also behind
 * "embedding:", but not within a longer word. One that is a token already is LECO_INVALID. */
leco_status tokenizer_add(tokenizer *t, const char *text, int32_t first, int32_t count, leco_error *err);

bool tokenizer_names(const tokenizer *t, const char *text); /* does the text begin with such a word? */
/* Does a text hold `word`, as tokenizer_encode finds it, in what isn't cut? Never where the word isn't one that was
 * added, here or in the folder. Fails as tokenizer_encode does. */
leco_status tokenizer_holds(const tokenizer *t, const char *text, const char *word, bool *holds, leco_error *err);

/* The text of one id as vocab.json has it ("red</w>"), or of the added token that it belongs to; NULL: nobody's. */
const char *tokenizer_token(const tokenizer *t, int32_t id);

bool tokenizer_same_words(const tokenizer *a, const tokenizer *b); /* do they mean the same by all ids? */

#endif
