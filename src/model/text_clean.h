/* Cleaning a prompt as transformers' CLIPTokenizer (without ftfy) does before its pattern splits it. */
#ifndef LECO_MODEL_TEXT_CLEAN_H
#define LECO_MODEL_TEXT_CLEAN_H

#include <stddef.h>

#include "base/error.h"

/* LECO_INVALID, naming the byte, where text isn't valid UTF-8. */
leco_status text_check_utf8(const char *text, size_t size, leco_error *err);

/* text must be valid UTF-8. Drops U+FFFD and control, format and unassigned characters; makes of every other white
 * space one space, none at the ends; sets CJK ideographs apart; NFC; lower case as Python's str.lower. *out is
 * NUL-terminated; mem_free it. */
leco_status text_clean(const char *text, size_t size, char **out, size_t *out_size, leco_error *err);

#endif
