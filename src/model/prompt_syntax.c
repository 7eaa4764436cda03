#include "model/prompt_syntax.h"

#include <stdlib.h>
#include <string.h>

/* The bracket that closes the one at `open`, or NULL. Escaped ones don't count. */
static const char *closing(const char *open)
{
    const char left = *open, right = left == '(' ? ')' : ']';
    size_t depth = 0;
    for (const char *c = open; *c; c++) {
        if (*c == '\\' && c[1])
            c++;
        else if (*c == left)
            depth++;
        else if (*c == right && --depth == 0)
            return c;
    }
    return NULL;
}

/* Is [from, to) a number, spaces around it allowed? */
static bool is_number(const char *from, const char *to)
{
    from += strspn(from, " ");
    while (to > from && to[-1] == ' ') to--;
    return to > from && strspn(from, "0123456789.+-") == (size_t)(to - from) && strpbrk(from, "0123456789") < to;
}

/* The bracket at `open` as syntax: nested, weighted, or a choice of texts. Its length, or 0. */
static size_t bracket(const char *open)
{
    const char *end = closing(open);
    if (!end) return 0;
    if (open[1] == *open && end[-1] == *end) return (size_t)(end + 1 - open);
    const char *colon = end;
    while (colon > open && *colon != ':') colon--;
    if (colon > open && is_number(colon + 1, end)) return (size_t)(end + 1 - open);
    if (*open == '[' && memchr(open, '|', (size_t)(end - open))) return (size_t)(end + 1 - open);
    return 0;
}

/* <lora:name:1> and its like. */
static size_t network(const char *open)
{
    static const char *const kinds[] = {"<lora:", "<lyco:", "<hypernet:"};
    const char *end = strchr(open, '>');
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && end; i++)
        if (strncmp(open, kinds[i], strlen(kinds[i])) == 0) return (size_t)(end + 1 - open);
    return 0;
}

static bool is_boundary(char c)
{
    return strchr(" \t\r\n,.;:()[]|", c) != NULL; /* the end of the text, too */
}

/* A word that isn't one: BREAK, AND, embedding:name. */
static size_t word(const char *at)
{
    static const char *const words[] = {"BREAK", "AND"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t length = strlen(words[i]);
        if (strncmp(at, words[i], length) == 0 && is_boundary(at[length])) return length;
    }
    static const char embedding[] = "embedding:";
    const size_t length = strlen(embedding);
    return strncmp(at, embedding, length) == 0 && !is_boundary(at[length]) ? length + strcspn(at + length, " \t\r\n,()")
                                                                           : 0;
}

const char *prompt_syntax_find(const char *prompt, size_t *length)
{
    for (const char *at = prompt; *at; at++) {
        size_t found = 0;
        if (*at == '\\' && at[1] && strchr("()[]", at[1]))
            found = 2;
        else if (*at == '(' || *at == '[')
            found = bracket(at);
        else if (*at == '<')
            found = network(at);
        else if (at == prompt || is_boundary(at[-1]))
            found = word(at);
        if (found > 0) {
            *length = found;
            return at;
        }
    }
    return NULL;
}
