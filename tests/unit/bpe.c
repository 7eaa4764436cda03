/* Byte pair encoding against its definition, over random vocabularies and words; and a word so long that going through
 * it once a merge would take minutes. */
#include "test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "model/bpe.h"

enum { MOST_SYMBOLS = 96, MOST_TEXT = 64 };

static rng random_state;
static leco_error err;

static size_t draw(size_t count)
{
    return (size_t)rng_randint(&random_state, 0, (int64_t)count);
}

typedef struct vocabulary {
    char symbol[MOST_SYMBOLS][MOST_TEXT]; /* the place is the id */
    char merge[MOST_SYMBOLS][2][MOST_TEXT];
    size_t symbols, merges, letters;
} vocabulary;

static int find_symbol(const vocabulary *v, const char *text)
{
    for (size_t i = 0; i < v->symbols; i++)
        if (strcmp(v->symbol[i], text) == 0) return (int)i;
    return -1;
}

/* Letters, then merges of what there is; which in random order, so that a merge may come before those it is made of. */
static void draw_vocabulary(vocabulary *v)
{
    *v = (vocabulary){.letters = 1 + draw(3)};
    for (size_t i = 0; i < v->letters; i++) {
        snprintf(v->symbol[v->symbols++], MOST_TEXT, "%c", (char)('a' + i));
        snprintf(v->symbol[v->symbols++], MOST_TEXT, "%c</w>", (char)('a' + i));
    }
    size_t tries = 4 + draw(60);
    for (size_t i = 0; i < tries; i++) {
        const char *left = v->symbol[draw(v->symbols)], *right = v->symbol[draw(v->symbols)];
        char text[2 * MOST_TEXT];
        int length = snprintf(text, sizeof text, "%s%s", left, right);
        if (strchr(left, '<') || length >= MOST_TEXT || find_symbol(v, text) >= 0) continue;
        strcpy(v->symbol[v->symbols++], text);
        strcpy(v->merge[v->merges][0], left);
        strcpy(v->merge[v->merges++][1], right);
    }
    for (size_t i = v->merges; i > 1; i--) {
        char kept[2][MOST_TEXT];
        size_t other = draw(i);
        memcpy(kept, v->merge[i - 1], sizeof kept);
        memcpy(v->merge[i - 1], v->merge[other], sizeof kept);
        memcpy(v->merge[other], kept, sizeof kept);
    }
}

static bpe *open_vocabulary(const vocabulary *v)
{
    static char json[MOST_SYMBOLS * (MOST_TEXT + 16)], merges[MOST_SYMBOLS * 2 * MOST_TEXT];
    char vocab_path[512], merges_path[512];
    size_t used = 0;
    for (size_t i = 0; i < v->symbols; i++)
        used += (size_t)sprintf(json + used, "%s\"%s\": %zu", i ? ", " : "{", v->symbol[i], i);
    strcpy(json + used, "}");
    used = (size_t)sprintf(merges, "#version\n");
    for (size_t i = 0; i < v->merges; i++)
        used += (size_t)sprintf(merges + used, "%s %s\n", v->merge[i][0], v->merge[i][1]);
    snprintf(vocab_path, sizeof vocab_path, "%s", test_path("vocab.json"));
    snprintf(merges_path, sizeof merges_path, "%s", test_path("merges.txt"));
    test_write(vocab_path, json, strlen(json));
    test_write(merges_path, merges, strlen(merges));
    bpe *b;
    assert_works(bpe_open(vocab_path, merges_path, &b, &err), &err);
    return b;
}

/* The definition: the first merge of the list that fits anywhere is made wherever it fits, from the left; again. */
static size_t encode_plainly(const vocabulary *v, const char *word, size_t size, int32_t *ids)
{
    size_t count = size;
    for (size_t i = 0; i < size; i++) ids[i] = 2 * (word[i] - 'a') + (i + 1 == size);
    for (size_t m = 0; m < v->merges;) {
        const int left = find_symbol(v, v->merge[m][0]), right = find_symbol(v, v->merge[m][1]);
        char text[2 * MOST_TEXT];
        snprintf(text, sizeof text, "%s%s", v->merge[m][0], v->merge[m][1]);
        size_t to = 0;
        for (size_t from = 0; from < count; to++) {
            bool fits = from + 1 < count && ids[from] == left && ids[from + 1] == right;
            ids[to] = fits ? find_symbol(v, text) : ids[from];
            from += fits ? 2 : 1;
        }
        m = to < count ? 0 : m + 1;
        count = to;
    }
    return count;
}

static void follows_its_definition(void **state)
{
    (void)state;
    static vocabulary v;
    for (int round = 0; round < 60; round++) {
        draw_vocabulary(&v);
        bpe *b = open_vocabulary(&v);
        for (int i = 0; i < 60; i++) {
            char word[100];
            int32_t got[100], wanted[100];
            size_t count, size = 1 + draw(i < 40 ? 10 : 99), period = draw(3) ? size : 1 + draw(4);
            for (size_t k = 0; k < size; k++)
                word[k] = k >= period ? word[k - period] : (char)('a' + (int)draw(v.letters));
            assert_works(bpe_encode(b, word, size, got, &count, &err), &err);
            size_t expected = encode_plainly(&v, word, size, wanted);
            if (count != expected || memcmp(got, wanted, count * sizeof *got) != 0)
                fail_msg("round %d: %.*s is encoded otherwise", round, (int)size, word);
        }
        bpe_close(b);
    }
}

/* All pairs of letters, and many triples: thousands of ranks to go through. */
static bpe *open_large(void)
{
    FILE *merges = fopen(test_path("merges.txt"), "w"), *vocab = fopen(test_path("vocab.json"), "w");
    assert_true(merges && vocab);
    fputs("#version\n", merges);
    int id = 0;
    for (int i = 0; i < 26; i++) fprintf(vocab, "%s\"%c\": %d", i ? ", " : "{", 'a' + i, i), id++;
    for (int length = 2; length <= 3; length++) {
        int count = length == 2 ? 26 * 26 : 26 * 26 * 26;
        for (int i = 0; i < count; i++) {
            int n = (int)((i * 7919LL) % count); /* in an order of no meaning; 7919 is prime to both */
            char a = (char)('a' + n % 26), c = (char)('a' + n / 26 % 26), d = (char)('a' + n / 676);
            if (length == 2)
                fprintf(merges, "%c %c\n", a, c), fprintf(vocab, ", \"%c%c\": %d", a, c, id++);
            else
                fprintf(merges, "%c%c %c\n", a, c, d), fprintf(vocab, ", \"%c%c%c\": %d", a, c, d, id++);
        }
    }
    fputs("}", vocab);
    assert_true(fclose(merges) == 0 && fclose(vocab) == 0);
    bpe *b;
    assert_works(bpe_open(test_path("vocab.json"), test_path("merges.txt"), &b, &err), &err);
    return b;
}

static void a_long_word_takes_no_time_squared(void **state)
{
    (void)state;
    const size_t size = 1024 * 1024;
    bpe *b = open_large();
    char *word = malloc(size);
    int32_t *ids = malloc(size * sizeof *ids);
    assert_true(word && ids);
    for (size_t i = 0; i < size; i++) word[i] = (char)('a' + (int)draw(26));
    size_t count;
    clock_t begin = clock();
    assert_works(bpe_encode(b, word, size, ids, &count, &err), &err);
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    assert_true(count > size / 4 && count < size);
    if (seconds > 4) fail_msg("%zu bytes took %.1f seconds of the processor", size, seconds);
    free(word);
    free(ids);
    bpe_close(b);
}

int main(void)
{
    rng_seed(&random_state, RNG_CPU, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_its_definition),
        cmocka_unit_test(a_long_word_takes_no_time_squared),
    };
    return cmocka_run_group_tests_name("unit/bpe", tests, NULL, NULL);
}
