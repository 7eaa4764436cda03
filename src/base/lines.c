#include "base/lines.h"

#include <string.h>

static const char blanks[] = " \t\r";

char *lines_next(char **rest, size_t *number)
{
    while (*rest && **rest) {
        char *line = *rest, *end = strchr(line, '\n');
        *rest = end ? end + 1 : NULL;
        if (end) *end = '\0';
        if (++*number == 1 && strncmp(line, "\xEF\xBB\xBF", 3) == 0) line += 3;
        line += strspn(line, blanks);
        size_t length = strlen(line);
        while (length > 0 && strchr(blanks, line[length - 1])) line[--length] = '\0';
        if (length > 0 && *line != '#') return line;
    }
    return NULL;
}
