/* UTF-8, as far as it takes to tell what is no text. */
#ifndef LECO_BASE_UTF8_H
#define LECO_BASE_UTF8_H

#include <stddef.h>

/* Bytes (1 to 4) of the character at `text`, which ends with NUL somewhere; 0 where it is none. Overlong forms,
 * surrogates and what lies above U+10FFFF are none. NUL is a character of one byte. */
size_t utf8_bytes(const char *text);

#endif
