/* Words that a tokenizer has for one token, and which of them a text encoder's token table holds for like a concept. */
#ifndef LECO_SOLVE_VOCABULARY_H
#define LECO_SOLVE_VOCABULARY_H

#include "base/arena.h"
#include "model/model.h"

/* Up to `most` words of three letters or more whose rows of the first encoder's table are most like the mean of the
 * concept's, by the cosine once the mean of all such words is taken off: it is what rare words have most of, and would
 * else decide. The likest first; words and list are memory's. m's text encoder is loaded. */
leco_status vocabulary_like(const model *m, const char *concept, size_t most, arena *memory, const char ***out,
                            size_t *count, leco_error *err);

/* Is a word another form of a concept, "reds", "reddish" of "red" and "painters" of "painting", by its first letters,
 * and no part of it? Some that aren't pass for it ("happen" of "happy"), and forms with another stem don't ("mice" of
 * "mouse"). */
bool vocabulary_is_form(const char *word, const char *concept);

#endif
