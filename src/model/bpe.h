/* Byte-level byte pair encoding: vocab.json and merges.txt, and one word's merges.
 *
 * A word's bytes are written as printable characters (GPT-2's table), the last with "</w>"; then, as long as there is
 * one, the pair of neighbours that stands first in merges.txt is merged wherever it occurs. */
#ifndef LECO_MODEL_BPE_H
#define LECO_MODEL_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct bpe bpe;

/* Reads both files. Broken or contradictory ones are LECO_FORMAT, naming the file and the key or line. */
leco_status bpe_open(const char *vocab_path, const char *merges_path, bpe **out, leco_error *err);
leco_status bpe_open_json(const char *path, bpe **out, leco_error *err); /* both out of a tokenizer.json */
leco_status bpe_open_clip(bpe **out, leco_error *err);                   /* CLIP's own, which is built in */
void bpe_close(bpe *b);                                                  /* NULL is fine */

/* The id of a token's text, or -1; the text of an id, or NULL; one more than the highest id. */
int32_t bpe_id(const bpe *b, const char *text);
const char *bpe_text(const bpe *b, int32_t id);
size_t bpe_id_count(const bpe *b);

/* Encodes a word of `size` > 0 bytes: ids [at most size], -1 for what vocab.json lacks. *count gets their number. */
leco_status bpe_encode(const bpe *b, const char *word, size_t size, int32_t *ids, size_t *count, leco_error *err);

#endif
