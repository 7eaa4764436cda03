/* Changes to an input: of bytes, and of what texts consist of: words, numbers and lines. */
#include "fuzz.h"

#include <string.h>

#define LONGEST_PIECE 256

typedef struct input {
    uint8_t *data;
    size_t size, capacity;
    uint64_t *state;
} input;

size_t fuzz_random(uint64_t *state, size_t limit)
{
    *state ^= *state << 13; /* xorshift64 */
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return limit ? (size_t)(*state >> 11) % limit : 0;
}

static size_t random_below(input *in, size_t limit)
{
    return fuzz_random(in->state, limit);
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Replaces `removed` bytes at `at` by `added` bytes of `bytes`. */
static void splice(input *in, size_t at, size_t removed, const void *bytes, size_t added)
{
    size_t rest = in->size - at - removed;
    if (added > LONGEST_PIECE || at + added + rest > in->capacity) return;
    uint8_t copy[LONGEST_PIECE]; /* `bytes` may lie in the input */
    if (added > 0) memcpy(copy, bytes, added);
    memmove(in->data + at + added, in->data + at + removed, rest);
    if (added > 0) memcpy(in->data + at, copy, added);
    in->size = at + added + rest;
}

/* ---- pieces of text ---- */

static bool in_word(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c >= 0x80 ||
           memchr("_-+.", c, 4) != NULL;
}

/* The run of word characters, or otherwise the one byte, at `at`. */
static void word_at(const input *in, size_t at, size_t *begin, size_t *end)
{
    *begin = *end = at;
    if (at == in->size) return;
    *end = at + 1;
    if (!in_word(in->data[at])) return;
    while (*begin > 0 && in_word(in->data[*begin - 1])) --*begin;
    while (*end < in->size && in_word(in->data[*end])) ++*end;
}

/* The line around `at`, with its end. */
static void line_at(const input *in, size_t at, size_t *begin, size_t *end)
{
    *begin = *end = at;
    while (*begin > 0 && in->data[*begin - 1] != '\n') --*begin;
    while (*end < in->size && in->data[(*end)++] != '\n') {
    }
}

static const char *random_word(input *in)
{
    size_t words = 0;
    while (fuzz_words[words]) words++;
    return fuzz_words[random_below(in, words)];
}

/* A word of the format, a number that parsers mind, or another word of the input in place of a word. */
static void replace_word(input *in)
{
    static const char *const numbers[] = {"0",          "1",
                                          "2",          "3",
                                          "-1",         "64",
                                          "77",         "1000",
                                          "65536",      "65537",
                                          "2147483647", "4294967296",
                                          "1e-12",      "0.5",
                                          "1e308",      "9223372036854775807",
                                          "-0",         "1.0",
                                          "255",        "8193",
                                          "nan",        "true",
                                          "null",       "9223372036854775808",
                                          "1e400",      "1000000000000000000000000000000"};
    size_t begin, end, from, to;
    word_at(in, random_below(in, in->size + 1), &begin, &end);
    const char *text;
    switch (random_below(in, 3)) {
    case 0:
        text = random_word(in);
        splice(in, begin, end - begin, text, strlen(text));
        break;
    case 1:
        text = numbers[random_below(in, sizeof numbers / sizeof *numbers)];
        splice(in, begin, end - begin, text, strlen(text));
        break;
    default:
        word_at(in, random_below(in, in->size + 1), &from, &to);
        splice(in, begin, end - begin, in->data + from, to - from);
    }
}

/* Removes a line, or repeats one of another place. */
static void change_lines(input *in)
{
    size_t begin, end, from, to;
    line_at(in, random_below(in, in->size + 1), &begin, &end);
    line_at(in, random_below(in, in->size + 1), &from, &to);
    if (random_below(in, 2))
        splice(in, begin, end - begin, "", 0);
    else
        splice(in, begin, random_below(in, 2) ? end - begin : 0, in->data + from, to - from);
}

/* ---- bytes ---- */

static void change_bytes(input *in)
{
    static const uint8_t special[] = {0, 1, 0x7f, 0x80, 0xff, '"', '{', '}', '[', ']', ',', '9', ':', '-', ' ', '\n'};
    size_t at = random_below(in, in->size + 1), left = in->size - at;
    size_t length = random_below(in, smaller(left, 16) + 1);
    switch (random_below(in, 8)) {
    case 0: /* flip a bit */
        if (left > 0) in->data[at] ^= (uint8_t)(1u << random_below(in, 8));
        break;
    case 1: /* a byte that parsers mind */
        splice(in, at, left > 0, &special[random_below(in, sizeof special)], 1);
        break;
    case 2: { /* a number of 32 bits, from 0 to all ones */
        uint32_t number = (uint32_t)((uint64_t)0xffffffff >> random_below(in, 33)) - (uint32_t)random_below(in, 2);
        splice(in, at, smaller(left, 4), &number, 4);
        break;
    }
    case 3: /* remove a piece */
        splice(in, at, length, "", 0);
        break;
    case 4: /* repeat a piece */
        splice(in, at, 0, in->data + at, length);
        break;
    case 5: /* a piece of another place */
        splice(in, at, length, in->data + random_below(in, in->size - length + 1), length);
        break;
    case 6: { /* a word, put in or written over */
        const char *word = random_word(in);
        splice(in, at, random_below(in, 2) ? smaller(left, strlen(word)) : 0, word, strlen(word));
        break;
    }
    default: /* cut */
        if (random_below(in, 4) == 0) in->size = at;
    }
}

size_t fuzz_mutate(uint8_t *data, size_t size, size_t capacity, uint64_t *state)
{
    input in = {data, size, capacity, state};
    switch (random_below(&in, 6)) {
    case 0:
        replace_word(&in);
        break;
    case 1:
        change_lines(&in);
        break;
    case 2:
    case 3:
        change_bytes(&in);
        break;
    default:
        return fuzz_mutate_json(data, size, capacity, state);
    }
    return in.size;
}
