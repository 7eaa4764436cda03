/* What other programs read as instructions in a prompt, and leco takes literally. */
#ifndef LECO_MODEL_PROMPT_SYNTAX_H
#define LECO_MODEL_PROMPT_SYNTAX_H

#include <stdbool.h>
#include <stddef.h>

#include "model/tokenizer.h"

/* Finds the first piece of `prompt` that is A1111's syntax (or ComfyUI's, or an extension's): brackets with words in
 * them, with or without weights, closed or not: (red), (red:1.3), [red], [a|b], [a:b:0.5]; escaped brackets \(, whose
 * backslash leco would read, too; __wildcard__; the words BREAK and AND; <lora:name:1>, <lyco:name>,
 * <hypernet:name>; ComfyUI's embedding:name. *length gets the piece's; NULL: there is none. */
const char *prompt_syntax_find(const char *prompt, size_t *length);

/* Warns of the first piece that isn't an embedding which the tokenizer knows, unless *told says that somebody was told:
 * who knows it needn't hear it of every prompt. */
void prompt_syntax_tell(const char *prompt, const tokenizer *t, bool *told);

#endif
