#include "base/utf8.h"

#include <string.h>

size_t utf8_bytes(const unsigned char *p)
{
    size_t bytes = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < bytes; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f)) return 0;
    if ((*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f)) return 0;
    return bytes;
}

/* Does a terminal act on this character instead of showing it? */
static bool is_control(const unsigned char *p, size_t bytes)
{
    if (bytes == 1) return *p < 0x20 || *p == 0x7f;
    if (bytes == 2) return p[0] == 0xc2 && p[1] < 0xa0; /* U+0080 to U+009F */
    if (bytes != 3) return false;
    unsigned point = (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    return (point >= 0x202a && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);
}

void utf8_tidy(char *text, bool lines)
{
    const unsigned char *from = (const unsigned char *)text;
    char *to = text;
    while (*from) {
        size_t bytes = utf8_bytes(from);
        if (*from == '\n' || *from == '\t') {
            *to++ = lines ? (char)*from : ' ';
        } else if (lines && from[0] == '\r' && from[1] == '\n') {
            /* the new line follows */
        } else if (bytes == 0 || is_control(from, bytes)) {
            *to++ = '?';
        } else {
            memmove(to, from, bytes);
            to += bytes;
        }
        from += bytes ? bytes : 1;
    }
    *to = '\0';
}
