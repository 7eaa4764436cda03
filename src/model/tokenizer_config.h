/* What the JSON files beside a tokenizer's vocabulary say: tokenizer_config.json and, unless that lists its added
 * tokens, special_tokens_map.json, added_tokens.json and tokenizer.json. */
#ifndef LECO_MODEL_TOKENIZER_CONFIG_H
#define LECO_MODEL_TOKENIZER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "model/bpe.h"

#define START_TEXT "<|startoftext|>" /* where the files name no other */
#define END_TEXT "<|endoftext|>"

/* A token that is cut out of the raw text before anything else happens to it. */
typedef struct special_token {
    const char *text;
    size_t size;
    int32_t id, count; /* it becomes the ids [id, id + count) */
    bool named;        /* somebody's word for an embedding: in any letters, but not as a part of another word */
} special_token;

typedef struct token_config {
    special_token *special; /* [special_count] */
    size_t special_count;
    size_t vocabulary; /* one more than the highest id of the folder's */
    size_t length;     /* model_max_length */
    int32_t start, end, pad, unknown;
} token_config;

/* Reads FOLDER's files. Texts are copied into memory. A token that isn't among `words` and has no id of its own, or a
 * key that would make other ids, is an error that names file, key and token. token_config_free, also on failure. */
leco_status token_config_read(const char *folder, const bpe *words, arena *memory, token_config *out, leco_error *err);

/* The same of CLIP's own vocabulary, without files; pad may be NULL: the end token. */
leco_status token_config_clip(const bpe *words, const char *pad, arena *memory, token_config *out, leco_error *err);

void token_config_free(token_config *c);

/* Adds one more; its text is copied. */
leco_status token_config_add(token_config *c, arena *memory, const special_token *one, leco_error *err);

#endif
