/* What somebody may have meant by a name that there is not. */
#ifndef LECO_BASE_SUGGEST_H
#define LECO_BASE_SUGGEST_H

#include <stdbool.h>
#include <stddef.h>

/* The one of `known` [count] that `word` is another program's name for (A1111, kohya's scripts, diffusers), that it
 * begins, or that it is a misspelling of: at most a third of its letters, a swap of neighbors being one. NULL: none is
 * near. Case, and whether words are joined by '-' or '_', don't count; of a known "section.key" the key is compared. */
const char *suggest(const char *word, const char *const *known, size_t count);

/* Is it `known` but for case, '-' or '_', and a slip: one letter, or two of a word of ten and more? Much stricter than
 * suggest, for whoever acts on it. */
bool suggest_misspelt(const char *word, const char *known);

#endif
