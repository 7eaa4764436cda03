/* UTF-8: what is a character, and what of a text may go to a terminal. */
#ifndef LECO_BASE_UTF8_H
#define LECO_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the UTF-8 character at p, which a NUL follows somewhere; 0 where it is none. (Overlong forms, surrogates and
 * what lies above U+10FFFF are none: readers refuse them.) */
size_t utf8_bytes(const unsigned char *p);

/* Makes a text fit to be shown, in place. Names and metadata out of files that nobody has checked could otherwise send
 * escape sequences to the user's terminal, or turn the order of what stands there around. Control characters (C0, DEL,
 * and C1 in either spelling), separators of lines, marks of direction, embeddings, overrides and isolates, tags, and
 * bytes that are no UTF-8 become '?'; new lines and tabs become spaces, or stay where the text may have `lines`. Doing
 * it twice changes nothing. */
void utf8_tidy(char *text, bool lines);

/* The same for JSON, whose strings may say such characters as \uXXXX: a copy that means the same. mem_free it; NULL:
 * out of memory. */
char *utf8_escape_json(const char *json);

#endif
