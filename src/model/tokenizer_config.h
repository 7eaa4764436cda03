/* What the JSON files beside a tokenizer's vocabulary say: tokenizer_config.json and, unless that lists its added
 * tokens, special_tokens_map.json, added_tokens.json and tokenizer.json. */
#ifndef LECO_MODEL_TOKENIZER_CONFIG_H
#define LECO_MODEL_TOKENIZER_CONFIG_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "model/bpe.h"

#define START_TEXT "<|startoftext|>" /* where the files name no other */
#define END_TEXT "<|endoftext|>"
#define MOST_SPECIALS 64

/* A token that is cut out of the raw text before anything else happens to it. */
typedef struct special_token {
    const char *text;
    size_t size;
    int32_t id;
} special_token;

typedef struct token_config {
    special_token special[MOST_SPECIALS];
    size_t special_count;
    size_t length; /* model_max_length */
    int32_t start, end, pad, unknown;
} token_config;

/* Reads FOLDER's files. Texts are copied into memory. A token that isn't among `words`, or a key that would make other
 * ids, is an error that names file, key and token; *out is then of no use. */
leco_status token_config_read(const char *folder, const bpe *words, arena *memory, token_config *out, leco_error *err);

#endif
