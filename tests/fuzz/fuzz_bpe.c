/* vocab.json and merges.txt, and the word "@word" encoded by them. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/bpe.h"

const char *const fuzz_words[] = {"=== vocab.json\n",
                                  "=== merges.txt\n",
                                  "=== @word\n",
                                  "#version: 0.2\n",
                                  "</w>",
                                  "\"a\": ",
                                  "\"a</w>\": ",
                                  "a b\n",
                                  "a b</w>\n",
                                  "ab ab\n",
                                  "\xc4\xa0 a\n",
                                  "\\u0120",
                                  "\"\": ",
                                  ": 16777215",
                                  ": 16777216",
                                  "\r\n",
                                  NULL};

static const char *const names[] = {"vocab.json", "merges.txt", "@word", NULL};

/* GPT-2's character for a byte, in UTF-8. */
static void put_byte(char **out, unsigned byte)
{
    unsigned next = 0x100, c = 0;
    for (unsigned b = 0; b <= byte; b++) {
        bool printable = (b > 0x20 && b < 0x7f) || (b > 0xa0 && b != 0xad);
        c = printable ? b : next++;
    }
    if (c >= 0x80) *(*out)++ = (char)(0xc0 | c >> 6);
    *(*out)++ = (char)(c >= 0x80 ? 0x80 | (c & 0x3f) : c);
}

static char *joined(const bpe *b, const int32_t *ids, size_t count)
{
    size_t length = 0;
    for (size_t i = 0; i < count; i++) length += strlen(bpe_text(b, ids[i]));
    char *text = calloc(length + 1, 1);
    FUZZ_CHECK(text);
    for (size_t i = 0; i < count; i++) strcat(text, bpe_text(b, ids[i]));
    return text;
}

/* All ids are in range, and the tokens' texts joined are the word. */
static void check_word(const bpe *b, const char *word, size_t size)
{
    leco_error err = {0};
    int32_t *ids = malloc(size * sizeof *ids);
    size_t count = 0, unknown = 0;
    FUZZ_CHECK(ids);
    FUZZ_CHECK(bpe_encode(b, word, size, ids, &count, &err) == LECO_OK);
    FUZZ_CHECK(count >= 1 && count <= size);
    for (size_t i = 0; i < count; i++) {
        FUZZ_CHECK(ids[i] >= -1 && ids[i] < (int64_t)bpe_id_count(b));
        if (ids[i] < 0) unknown++;
        if (ids[i] >= 0) FUZZ_CHECK(bpe_text(b, ids[i]) && bpe_id(b, bpe_text(b, ids[i])) == ids[i]);
    }
    if (unknown == 0) {
        char *expected = malloc(2 * size + 8), *end = expected, *found = joined(b, ids, count);
        FUZZ_CHECK(expected);
        for (size_t i = 0; i < size; i++) put_byte(&end, (unsigned char)word[i]);
        strcpy(end, "</w>");
        FUZZ_CHECK(strcmp(found, expected) == 0);
        free(found);
        free(expected);
    }
    free(ids);
}

/* One byte is one token, or unknown. */
static void check_byte(const bpe *b, char byte)
{
    leco_error err = {0};
    int32_t id;
    size_t count;
    char expected[8] = "", *end = expected;
    put_byte(&end, (unsigned char)byte);
    strcpy(end, "</w>");
    FUZZ_CHECK(bpe_encode(b, &byte, 1, &id, &count, &err) == LECO_OK);
    FUZZ_CHECK(count == 1 && id == bpe_id(b, expected));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    fuzz_part parts[FUZZ_MAX_PARTS];
    bpe *b = NULL;
    char vocabulary[128], merges[128];
    fuzz_accepted = false;
    fuzz_split(data, size, names, parts);
    if (fuzz_has_large_id(parts[0].data, parts[0].size)) return 0;
    const char *folder = fuzz_folder(names, parts);
    snprintf(vocabulary, sizeof vocabulary, "%s/vocab.json", folder);
    snprintf(merges, sizeof merges, "%s/merges.txt", folder);
    leco_status status = bpe_open(vocabulary, merges, &b, &err);
    fuzz_accepted = status == LECO_OK;
    if (!fuzz_accepted) {
        FUZZ_REFUSED(status, &err);
        FUZZ_CHECK(!b);
        return 0;
    }
    FUZZ_CHECK(bpe_id_count(b) >= 1 && !bpe_text(b, -1) && !bpe_text(b, (int32_t)bpe_id_count(b)));
    char *word = fuzz_text(&parts[2]);
    if (word && parts[2].size > 0) check_word(b, word, parts[2].size);
    for (size_t i = 0; word && i < parts[2].size; i++) check_byte(b, word[i]);
    free(word);
    bpe_close(b);
    return 0;
}

bool fuzz_seed(unsigned index, const char *path)
{
    static const char *const seeds[] = {
        "{\"a\": 0, \"b\": 1, \"a</w>\": 2, \"b</w>\": 3, \"ab\": 4, \"ab</w>\": 5, \"abab</w>\": 6}\n"
        "=== merges.txt\n#version: 0.2\na b\na b</w>\nab ab</w>\n=== @word\nabab",
        "{\"c\": 7, \"r\": 3, \"e\": 2, \"d</w>\": 1, \"red</w>\": 0, \"\xc4\xa0\": 5, \"\\u0120</w>\": 6}\r\n"
        "=== merges.txt\n#\r\nr e\r\nre d</w>\r\n=== @word\n red c ",
        "{\"a\": 0}\n=== merges.txt\n=== @word\n\x01\xff\xad\x7f", "{\"\": 65535}\n=== merges.txt\n\na a\na a\n"};
    const unsigned own = sizeof seeds / sizeof *seeds;
    if (index < own) fuzz_put(path, seeds[index]);
    if (index != own) return index < own;
    fuzz_put_file(path, "models/shapes/tokenizer/vocab.json");
    fuzz_put(path, "\n=== merges.txt\n");
    fuzz_put_file(path, "models/shapes/tokenizer/merges.txt");
    fuzz_put(path, "=== @word\nstriped \x7f\x80\xa0\xad\xff! red");
    return true;
}
