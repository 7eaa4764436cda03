#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

size_t utf8_bytes(const unsigned char *p)
{
    size_t bytes = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < bytes; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f)) return 0;
    if ((*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f)) return 0;
    return bytes;
}

static unsigned code_point(const unsigned char *p, size_t bytes)
{
    static const unsigned char first[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    unsigned point = p[0] & first[bytes];
    for (size_t i = 1; i < bytes; i++) point = point << 6 | (p[i] & 0x3fu);
    return point;
}

/* Does a terminal act on this character instead of showing it? */
static bool is_control(const unsigned char *p, size_t bytes)
{
    if (bytes == 1) return *p < 0x20 || *p == 0x7f;
    static const unsigned ranges[][2] = {{0x80, 0x9f},     {0x061c, 0x061c}, {0x200e, 0x200f},
                                         {0x2028, 0x202e}, {0x2066, 0x2069}, {0xe0000, 0xe007f}};
    const unsigned point = code_point(p, bytes);
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (point >= ranges[i][0] && point <= ranges[i][1]) return true;
    return false;
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

char *utf8_escape_json(const char *json)
{
    enum { LONGEST = 12 }; /* of what one character becomes: a pair of surrogates */
    size_t controls = 0, bytes;
    const unsigned char *from = (const unsigned char *)json;
    for (const unsigned char *p = from; *p; p += bytes ? bytes : 1)
        controls += (bytes = utf8_bytes(p)) != 0 && *p >= 0x20 && is_control(p, bytes);
    char *out = mem_calloc(strlen(json) + controls * LONGEST + 1, 1), *to = out;
    for (; out && *from; from += bytes) {
        bytes = utf8_bytes(from);
        if (bytes == 0) bytes = 1;
        const unsigned point = code_point(from, bytes);
        if (*from < 0x20 || !is_control(from, bytes)) {
            memcpy(to, from, bytes);
            to += bytes;
        } else if (point < 0x10000) {
            to += sprintf(to, "\\u%04x", point);
        } else {
            to += sprintf(to, "\\u%04x\\u%04x", 0xd7c0 + (point >> 10), 0xdc00 + (point & 0x3ff));
        }
    }
    if (out) *to = '\0';
    return out;
}
