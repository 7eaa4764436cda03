/* Concepts of two words that are known one by one, "red star": of its kind are those that share one of the two, "orange
 * star" and "red heart", and these are what it is told from. */
#ifndef LECO_SOLVE_COMPOUND_H
#define LECO_SOLVE_COMPOUND_H

#include "model/tokenizer.h"
#include "solve/contexts.h"

/* The topic of such a concept, made in memory, of words that the tokenizer knows; NULL where it is no such. */
leco_status compound_topic(const char *concept, const tokenizer *t, arena *memory, const topic **out, leco_error *err);

#endif
