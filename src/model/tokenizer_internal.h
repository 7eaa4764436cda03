/* What a tokenizer is, for src/model/tokenizer*.c only. */
#ifndef LECO_MODEL_TOKENIZER_INTERNAL_H
#define LECO_MODEL_TOKENIZER_INTERNAL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdbool.h>

#include "base/arena.h"
#include "model/bpe.h"
#include "model/tokenizer.h"

#define START_TEXT "<|startoftext|>"
#define END_TEXT "<|endoftext|>"

/* A token that is cut out of the raw text before anything else happens to it. */
typedef struct special {
    const char *text;
    size_t size;
    int32_t id, count; /* it becomes the ids [id, id + count) */
    bool named;        /* somebody's word for an embedding: in any letters, but not as a part of another word */
} special;

struct tokenizer {
    arena *memory;
    bpe *bpe;
    pcre2_code *code;
    special *specials; /* [special_count] */
    size_t special_count;
    size_t vocabulary; /* one more than the highest id of the folder's */
    size_t length;     /* model_max_length */
    int32_t start, end, pad, unknown;
};

/* Reads what is beside the vocabulary: names, lengths, added tokens. */
leco_status tokenizer_configure(tokenizer *t, const char *folder, leco_error *err);

/* Adds one more; its text is copied. */
leco_status tokenizer_put(tokenizer *t, const special *one, leco_error *err);

#endif
