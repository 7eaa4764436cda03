/* The lines of a file of texts, of prompts for instance. */
#ifndef LECO_BASE_LINES_H
#define LECO_BASE_LINES_H

#include <stddef.h>

/* The next line of *rest that is neither empty nor a remark, which begins with #; without blanks at its ends, and
 * without the file's byte order mark. It is cut out of the text, and *rest goes on behind it. *number counts all lines,
 * from 0 before the first. NULL: there are no more. */
char *lines_next(char **rest, size_t *number);

#endif
