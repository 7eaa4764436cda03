/* Cleaning prompts. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/text_clean.h"

const char *const fuzz_words[] = {"\xce\xa3" /* capital sigma */,
                                  "\xcf\x82",
                                  "\xc4\xb0" /* I with a dot above */,
                                  "\xcc\x87" /* a dot above */,
                                  "\xe1\xba\x9e" /* capital sharp s */,
                                  "\xe4\xb8\xad" /* ideographs */,
                                  "\xef\xa4\x80",
                                  "\xf0\xa0\x80\x80",
                                  "\xed\x95\x9c" /* hangul */,
                                  "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab",
                                  "\xcd\x85" /* iota below */,
                                  "\xcc\x81" /* acute */,
                                  "\xe2\x84\xaa" /* kelvin */,
                                  "\xe2\x80\x8b" /* zero width */,
                                  "\xe2\x80\xa8" /* line separator */,
                                  "\xc2\xa0",
                                  "\xef\xbf\xbd",
                                  "\xef\xbf\xbf",
                                  "\xee\x80\x80" /* private use */,
                                  "\xed\xa0\x80" /* a surrogate */,
                                  "\xf4\x90\x80\x80" /* beyond Unicode */,
                                  "\xc0\x80" /* overlong */,
                                  "  ",
                                  "\t\r\n",
                                  "A.B'C",
                                  NULL};

static void check_clean(const char *text, size_t size)
{
    FUZZ_CHECK(fuzz_is_utf8(text, size) && strlen(text) == size && !strstr(text, "\xef\xbf\xbd"));
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        FUZZ_CHECK(c >= 0x20 && c != 0x7f && !(c >= 'A' && c <= 'Z'));
        if (c == ' ') FUZZ_CHECK(i > 0 && i + 1 < size && text[i + 1] != ' ');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    char *text = malloc(size ? size : 1), *clean[3]; /* no NUL behind it */
    size_t sizes[3];
    FUZZ_CHECK(text);
    if (size > 0) memcpy(text, data, size);
    leco_status status = text_check_utf8(text, size, &err);
    fuzz_accepted = status == LECO_OK;
    FUZZ_CHECK(fuzz_accepted == fuzz_is_utf8(text, size));
    if (!fuzz_accepted) FUZZ_REFUSED(status, &err);
    for (int i = 0; fuzz_accepted && i < 3; i++) {
        status = text_clean(i ? clean[i - 1] : text, i ? sizes[i - 1] : size, &clean[i], &sizes[i], &err);
        FUZZ_CHECK(status == LECO_OK);
        check_clean(clean[i], sizes[i]);
    }
    /* What is clean stays clean; but lower case comes last, as in Python, and may compose where capitals don't. */
    if (fuzz_accepted) FUZZ_CHECK(sizes[2] == sizes[1] && memcmp(clean[2], clean[1], sizes[1]) == 0);
    for (int i = 0; fuzz_accepted && i < 3; i++) mem_free(clean[i]);
    free(text);
    return 0;
}

bool fuzz_seed(unsigned index, const char *path)
{
    static const char *const seeds[] = {
        "",
        "A small RED star, on a navy   background!\n",
        "caf\xc3\xa9 CAFE\xcc\x81 \xc3\x89",
        "\xce\x9f\xce\x94\xce\xa5\xce\xa3\xce\xa3\xce\x95\xce\xa5\xce\xa3 \xc4\xb0stanbul \xe2\x84\xaa",
        "\xe4\xb8\xad\xe6\x96\x87 abc\xe4\xb8\xad \xed\x95\x9c\xea\xb5\xad \xf0\x9f\x98\x80\xe2\x80\x8d",
        "e\xcc\x81\xcc\xa7 \xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab \xcd\x85\xcc\x81 \xef\xac\x81"};
    if (index >= sizeof seeds / sizeof *seeds) return false;
    fuzz_put(path, seeds[index]);
    return true;
}
