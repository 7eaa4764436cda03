#include "model/prompt_syntax.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define WILDCARD "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-/*"

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

/* Is there something to say in [from, to)? A smiley isn't. */
static bool has_words(const char *from, const char *to)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    while (from < to && (unsigned char)*from < 0x80 && !strchr(letters, *from)) from++;
    return from < to;
}

/* The bracket at `open`, its length, or 0: A1111 reads any as a little more or less weight, or by a number in it; one
 * that isn't closed counts to the end. */
static size_t bracket(const char *open)
{
    const char *end = closing(open);
    if (!end) end = open + strlen(open);
    if (!has_words(open + 1, end)) return 0;
    return (size_t)(end - open) + (*end != '\0');
}

/* __color__, which stands for a line of a file. */
static size_t wildcard(const char *at)
{
    const size_t length = strspn(at, WILDCARD);
    return length > 4 && at[1] == '_' && at[length - 1] == '_' && at[length - 2] == '_' &&
                   has_words(at + 2, at + length - 2)
               ? length
               : 0;
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
        else if (*at == '_' && (at == prompt || !strchr(WILDCARD, at[-1])))
            found = wildcard(at);
        else if (at == prompt || is_boundary(at[-1]))
            found = word(at);
        if (found > 0) {
            *length = found;
            return at;
        }
    }
    return NULL;
}

void prompt_syntax_tell(const char *prompt, const tokenizer *t, bool *told)
{
    size_t length;
    const char *piece = *told ? NULL : prompt_syntax_find(prompt, &length);
    while (piece && tokenizer_names(t, piece)) piece = prompt_syntax_find(piece + length, &length);
    if (!piece) return;
    *told = true;
    log_message(
        LOG_WARNING,
        "\"%.*s\" in a prompt is taken literally: leco reads prompts as plain text, without A1111's brackets and "
        "weights, BREAK, AND, <lora:...>, embeddings that weren't loaded and __wildcards__",
        (int)(length < 60 ? length : 60), piece);
}
