/* What other programs read as instructions in a prompt, and leco takes literally. */
#ifndef LECO_MODEL_PROMPT_SYNTAX_H
#define LECO_MODEL_PROMPT_SYNTAX_H

#include <stdbool.h>
#include <stddef.h>

/* Finds the first piece of `prompt` that is A1111's syntax (or ComfyUI's, where it says so): weights (red:1.3),
 * [red:1.3]; nested brackets ((red)), [[red]]; alternatives [a|b] and [a:b:0.5]; escaped brackets \(; the words BREAK
 * and AND; <lora:name:1>, <lyco:name>, <hypernet:name>; ComfyUI's embedding:name. *length gets the piece's; NULL: there
 * is none.
 *
 * Single brackets without any of these are ordinary punctuation here, though A1111 reads them as a little more or less
 * weight: a warning about each would be overlooked soon. */
const char *prompt_syntax_find(const char *prompt, size_t *length);

#endif
