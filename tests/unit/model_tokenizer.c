/* The tokenizer at its edges: odd texts, broken vocabularies, special tokens. Ordinary texts are in tests/parity. */
#include "model_support.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/text_clean.h"
#include "model/tokenizer.h"

#define FOLDER FIXTURE("tokenizer/tokenizer")
#define LENGTH 77

static tokenizer *open_good(const char *folder)
{
    leco_error err = {0};
    tokenizer *t;
    assert_works(tokenizer_open(folder, &t, &err), &err);
    return t;
}

static size_t encode(const tokenizer *t, const char *text, int32_t *ids)
{
    leco_error err = {0};
    size_t needed;
    assert_works(tokenizer_encode(t, text, strlen(text), ids, &needed, &err), &err);
    return needed;
}

static void empty_text_is_start_end_and_padding(void **state)
{
    (void)state;
    static const char *const empty[] = {"", " ", "\n\t ", "\xe2\x80\x8b" /* zero-width space */};
    tokenizer *t = open_good(FOLDER);
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        int32_t ids[LENGTH];
        assert_int_equal(encode(t, empty[i], ids), 2);
        assert_int_equal(ids[0], tokenizer_start(t));
        assert_int_equal(ids[1], tokenizer_end(t));
        for (int k = 2; k < LENGTH; k++) assert_int_equal(ids[k], tokenizer_pad(t));
    }
    tokenizer_close(t);
}

static void long_text_keeps_the_end(void **state)
{
    (void)state;
    tokenizer *t = open_good(FOLDER);
    static char text[70000];
    int32_t ids[LENGTH];
    for (int words = 74; words <= 76; words++) {
        text[0] = '\0';
        for (int i = 0; i < words; i++) strcat(text, "a ");
        assert_int_equal(encode(t, text, ids), (size_t)words + 2);
        assert_int_equal(ids[words < 75 ? words + 1 : 76], tokenizer_end(t));
        assert_string_equal(tokenizer_token(t, ids[words < 75 ? words : 75]), "a</w>");
    }
    /* One enormous word. */
    memset(text, 'x', 65536);
    text[65536] = '\0';
    assert_true(encode(t, text, ids) > LENGTH);
    assert_int_equal(ids[76], tokenizer_end(t));
    leco_error err = {0};
    text[65536] = 'x';
    assert_fails(tokenizer_encode(t, text, 65537, ids, NULL, &err), LECO_INVALID, &err, "65537 bytes");
    tokenizer_close(t);
}

static void broken_utf8_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"abc\xff", "byte 3"},           {"\x80", "byte 0"},         {"a\xc3", "byte 1"},
        {"\xc0\xaf", "byte 0"},          {"\xed\xa0\x80", "byte 0"}, {"\xf4\x90\x80\x80", "byte 0"},
        {"red \xe2\x82 star", "byte 4"},
    };
    tokenizer *t = open_good(FOLDER);
    int32_t ids[LENGTH];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        leco_error err = {0};
        assert_fails(tokenizer_encode(t, cases[i].text, strlen(cases[i].text), ids, NULL, &err), LECO_INVALID, &err,
                     "not valid UTF-8", cases[i].says);
    }
    tokenizer_close(t);
}

static void special_tokens_are_cut_out(void **state)
{
    (void)state;
    int32_t ids[LENGTH];
    tokenizer *t = open_good(FOLDER);
    assert_int_equal(encode(t, "a<|endoftext|>a", ids), 5);
    assert_int_equal(ids[2], tokenizer_end(t));
    assert_int_equal(encode(t, "<|EndOfText|>", ids), 3); /* by the pattern, in any letters */
    assert_int_equal(ids[1], tokenizer_end(t));
    assert_true(encode(t, "<|endoftext", ids) > 3);
    tokenizer_close(t);

    /* SD2 pads with "!", which thereby is cut out of words, too. */
    t = open_good(FIXTURE("sd2-like/tokenizer"));
    int32_t bang = tokenizer_pad(t);
    assert_string_equal(tokenizer_token(t, bang), "!");
    encode(t, "a!", ids);
    assert_int_equal(ids[2], bang);
    assert_int_equal(ids[3], tokenizer_end(t));
    assert_int_equal(ids[76], bang);
    tokenizer_close(t);
}

static void pad_token_comes_from_either_file(void **state)
{
    (void)state;
    leco_error err = {0};
    tokenizer *t;
    const char *folder = model_copy(FOLDER, "pad");
    const char *config = test_path("pad/tokenizer_config.json"), *map = test_path("pad/special_tokens_map.json");
    model_edit(map, "pad_token", "\"!\"");
    t = open_good(folder); /* the config lists its added tokens and so has the last word */
    assert_int_equal(tokenizer_pad(t), tokenizer_end(t));
    tokenizer_close(t);
    model_edit(config, "added_tokens_decoder", NULL);
    t = open_good(folder); /* the older layout: the map has it */
    assert_string_equal(tokenizer_token(t, tokenizer_pad(t)), "!");
    tokenizer_close(t);
    model_edit(map, "pad_token", NULL);
    model_edit(config, "pad_token", "{\"content\": \"!\"}");
    t = open_good(folder);
    assert_string_equal(tokenizer_token(t, tokenizer_pad(t)), "!");
    tokenizer_close(t);
    model_edit(config, "pad_token", "\"<pad>\"");
    assert_fails(tokenizer_open(folder, &t, &err), LECO_FORMAT, &err, config, "pad_token", "<pad>");
    assert_int_equal(remove(config), 0);
    assert_int_equal(remove(map), 0);
    t = open_good(folder); /* neither is needed */
    assert_int_equal(tokenizer_length(t), LENGTH);
    tokenizer_close(t);
}

static void lengths(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        size_t length;
    } cases[] = {{"16", 16}, {"1e30", 77}, {"2", 77}, {"null", 77}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *folder = model_copy(FOLDER, "length");
        model_edit(test_path("length/tokenizer_config.json"), "model_max_length", cases[i].value);
        tokenizer *t = open_good(folder);
        assert_int_equal(tokenizer_length(t), cases[i].length);
        tokenizer_close(t);
    }
}

/* As after textual inversion in transformers: ids behind the vocabulary's. */
static void added_tokens_are_cut_out(void **state)
{
    (void)state;
    int32_t ids[LENGTH];
    const char *folder = model_copy(FOLDER, "more"), *config = test_path("more/tokenizer_config.json");
    tokenizer *t = open_good(folder);
    const int32_t next = (int32_t)tokenizer_vocabulary(t);
    char text[128];
    tokenizer_close(t);
    model_edit(config, "added_tokens_decoder", NULL);
    snprintf(text, sizeof text, "{\"<my-dot>\": %d, \"<pad>\": %d}", next, next + 2);
    test_write(test_path("more/added_tokens.json"), text, strlen(text));
    model_edit(test_path("more/special_tokens_map.json"), "pad_token", "\"<pad>\"");
    t = open_good(folder);
    assert_int_equal(tokenizer_vocabulary(t), next + 3);
    assert_int_equal(encode(t, "a<my-dot>a", ids), 5);
    assert_int_equal(ids[2], next);
    assert_int_equal(ids[4], tokenizer_end(t));
    assert_int_equal(ids[5], next + 2);
    assert_true(encode(t, "<My-Dot>", ids) > 3);
    tokenizer_close(t);
    snprintf(text, sizeof text, "{\"%d\": {\"content\": \"<new>\"}}", next);
    model_edit(config, "added_tokens_decoder", text);
    t = open_good(folder);
    encode(t, "<new>", ids);
    assert_int_equal(ids[1], next);
    tokenizer_close(t);
}

static void words_become_several_ids(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t added;
    } cases[] = {{"a dotty star", 3},      {"a Dotty, star", 3},   {"embedding:dotty", 3}, {"a dotty", 3},
                 {"x<two words>y", 2},     {"dottys", 0},          {"adotty", 0},          {"dotty_1", 0},
                 {"dotty-<two words>", 5}, {"embedding: dotty", 3}};
    leco_error err = {0};
    int32_t ids[LENGTH];
    tokenizer *t = open_good(FOLDER);
    const int32_t next = (int32_t)tokenizer_vocabulary(t);
    assert_works(tokenizer_add(t, "dotty", next, 3, &err), &err);
    assert_works(tokenizer_add(t, "<two words>", next + 3, 2, &err), &err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t added = 0;
        encode(t, cases[i].text, ids);
        for (size_t k = 0; k < LENGTH; k++) added += ids[k] >= next;
        if (added != cases[i].added) fail_msg("\"%s\": %zu ids were added", cases[i].text, added);
    }
    assert_int_equal(encode(t, "embedding:dotty", ids), 5);
    encode(t, "dotty", ids);
    for (int32_t i = 0; i < 3; i++) assert_int_equal(ids[1 + i], next + i);
    assert_int_equal(ids[4], tokenizer_end(t));
    static const char *const taken[] = {"a", "A", "<|endoftext|>", "Dotty"}, *const none[] = {"", " x", "x "};
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        assert_fails(tokenizer_add(t, taken[i], next, 1, &err), LECO_INVALID, &err, taken[i],
                     i == 3 ? "a token of another embedding already" : "a token of the model already");
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_fails(tokenizer_add(t, none[i], next, 1, &err), LECO_INVALID, &err, "can't be a token");
    tokenizer_close(t);
}

static void added_tokens_we_cannot_do_are_refused(void **state)
{
    (void)state;
    leco_error err = {0};
    tokenizer *t;
    const char *folder = model_copy(FOLDER, "added"), *config = test_path("added/tokenizer_config.json");
    model_edit(config, "added_tokens_decoder", "{\"5\": {\"content\": \"<new>\"}}");
    assert_fails(tokenizer_open(folder, &t, &err), LECO_UNSUPPORTED, &err, config, "<new>", "id 5");
    model_edit(config, "added_tokens_decoder", "{\"3000000000\": {\"content\": \"<new>\"}}");
    assert_fails(tokenizer_open(folder, &t, &err), LECO_FORMAT, &err, config, "<new>", "3000000000");
    model_edit(config, "added_tokens_decoder",
               "{\"5000\": {\"content\": \"<new>\"}, \"5001\": {\"content\": \"<new>\"}}");
    assert_fails(tokenizer_open(folder, &t, &err), LECO_UNSUPPORTED, &err, config, "<new>", "5001");
    model_edit(config, "added_tokens_decoder",
               "{\"5000\": {\"content\": \"<new>\"}, \"05000\": {\"content\": \"<x>\"}}");
    assert_fails(tokenizer_open(folder, &t, &err), LECO_UNSUPPORTED, &err, config, "<x>", "5000");
    model_edit(config, "additional_special_tokens", "[\"<nowhere>\"]");
    model_edit(config, "added_tokens_decoder", "{}");
    assert_fails(tokenizer_open(folder, &t, &err), LECO_UNSUPPORTED, &err, config, "<nowhere>", "no id");
    model_edit(config, "additional_special_tokens", NULL);
    model_edit(config, "added_tokens_decoder", "{\"5\": {\"content\": \"a</w>\", \"lstrip\": true}}");
    assert_fails(tokenizer_open(folder, &t, &err), LECO_UNSUPPORTED, &err, config, "lstrip");
    model_edit(config, "added_tokens_decoder", "{\"5\": 7}");
    assert_fails(tokenizer_open(folder, &t, &err), LECO_FORMAT, &err, config, "content");
    assert_null(t);
}

static void broken_vocabularies_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *vocab;
        leco_status status;
        const char *says;
    } cases[] = {
        {"[]", LECO_FORMAT, "object"},
        {"{}", LECO_FORMAT, "object"},
        {"{\"a\": -1}", LECO_FORMAT, "\"a\""},
        {"{\"a\": 1.5}", LECO_FORMAT, "\"a\""},
        {"{\"a\": 99999999999999}", LECO_FORMAT, "\"a\""},
        {"{\"a\": \"1\"}", LECO_FORMAT, "\"a\""},
        {"{\"a\": 1, \"b\": 1}", LECO_FORMAT, "same id 1"},
        {"{\"a\": 1, ", LECO_FORMAT, ":1:"},
        {"{\"a\": 1}", LECO_FORMAT, "<|startoftext|>"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        leco_error err = {0};
        tokenizer *t;
        const char *folder = model_copy(FOLDER, "vocab"), *path = test_path("vocab/vocab.json");
        model_edit(test_path("vocab/tokenizer_config.json"), "added_tokens_decoder", NULL);
        test_write(path, cases[i].vocab, strlen(cases[i].vocab));
        bool lacks_start = i == 8; /* noticed by the config */
        assert_fails(tokenizer_open(folder, &t, &err), cases[i].status, &err, lacks_start ? folder : path,
                     cases[i].says);
        assert_null(t);
    }
}

static void broken_merges_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *merges, *says;
    } cases[] = {
        {"#version: 0.2\na b\nab\n", ":3:"}, {"#version: 0.2\na b c\n", ":2:"},      {"#version: 0.2\na \n", ":2:"},
        {"#version: 0.2\n b\n", ":2:"},      {"#version: 0.2\na b\n\nc d\n", ":3:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        leco_error err = {0};
        tokenizer *t;
        const char *folder = model_copy(FOLDER, "merges"), *path = test_path("merges/merges.txt");
        test_write(path, cases[i].merges, strlen(cases[i].merges));
        assert_fails(tokenizer_open(folder, &t, &err), LECO_FORMAT, &err, path, cases[i].says, "two tokens");
    }
    /* Windows' line ends, no line end, empty lines at the end, no merges at all: fine. */
    static const char *const good[] = {"#version: 0.2\r\nt h\r\nth e</w>\r\n",
                                       "#version: 0.2\nt h\nth e</w>",
                                       "#version: 0.2\nt h\nth e</w>\n\n",
                                       "#version: 0.2\nt h\nth e</w>\r\n\r\n \n",
                                       "",
                                       "x"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        const char *folder = model_copy(FOLDER, "merges");
        test_write(test_path("merges/merges.txt"), good[i], strlen(good[i]));
        tokenizer *t = open_good(folder);
        int32_t ids[LENGTH];
        assert_int_equal(encode(t, "the", ids), i < 4 ? 3 : 5);
        tokenizer_close(t);
    }
}

/* Merges go by rank, not by place, and each merges everywhere at once. */
static void merges_go_by_rank(void **state)
{
    (void)state;
    static const char vocab[] = "{\"<|startoftext|>\": 0, \"<|endoftext|>\": 1, \"a\": 2, \"a</w>\": 3, \"b\": 4, "
                                "\"b</w>\": 5, \"ab\": 6, \"ba</w>\": 7, \"abab\": 8, \"bab\": 9}";
    static const char merges[] = "#version\nb a</w>\na b\nab ab\nb ab\n";
    model_copy(FOLDER, "rank");
    test_write(test_path("rank/vocab.json"), vocab, strlen(vocab));
    test_write(test_path("rank/merges.txt"), merges, strlen(merges));
    remove(test_path("rank/tokenizer_config.json"));
    remove(test_path("rank/special_tokens_map.json"));
    tokenizer *t = open_good(test_path("rank"));
    int32_t ids[LENGTH];
    /* ababa: b a</w> first, then a b, leaving ab, a, ba. */
    assert_int_equal(encode(t, "ababa", ids), 5);
    assert_int_equal(ids[1], 6);
    assert_int_equal(ids[2], 2);
    assert_int_equal(ids[3], 7);
    /* ababab: the last b ends the word, so ab ab, a, b</w>. */
    assert_int_equal(encode(t, "ababab", ids), 5);
    assert_int_equal(ids[1], 8);
    assert_int_equal(ids[2], 2);
    assert_int_equal(ids[3], 5);
    assert_int_equal(encode(t, "c", ids), 3); /* not in the vocabulary */
    assert_int_equal(ids[1], 1);
    tokenizer_close(t);
}

static void text_is_cleaned_as_in_python(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"  A\tB\r\nC  ", "a b c"},
        {"\xce\x91\xce\xa3", "\xce\xb1\xcf\x82"},                  /* final sigma */
        {"\xce\xa3\xce\x91.", "\xcf\x83\xce\xb1."},                /* not final */
        {"\xce\x91\xce\xa3.", "\xce\xb1\xcf\x82."},                /* final before a dot */
        {"\xce\xa3", "\xcf\x83"},                                  /* alone: no word before it */
        {"\xc4\xb0", "i\xcc\x87"},                                 /* I with a dot */
        {"e\xcc\x81", "\xc3\xa9"},                                 /* NFC */
        {"\xe6\xbc\xa2\xe5\xad\x97", "\xe6\xbc\xa2 \xe5\xad\x97"}, /* ideographs apart */
        {"a\xc2\xad\xef\xbf\xbd\x07z", "az"},                      /* soft hyphen, U+FFFD, bell */
        {"a\xe2\x80\xa8z\xc2\xa0y", "a z y"},                      /* line separator, no-break space */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        leco_error err = {0};
        char *clean;
        size_t size;
        assert_works(text_clean(cases[i][0], strlen(cases[i][0]), &clean, &size, &err), &err);
        assert_string_equal(clean, cases[i][1]);
        assert_int_equal(size, strlen(cases[i][1]));
        mem_free(clean);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_text_is_start_end_and_padding),
        cmocka_unit_test(long_text_keeps_the_end),
        cmocka_unit_test(broken_utf8_is_refused),
        cmocka_unit_test(special_tokens_are_cut_out),
        cmocka_unit_test(pad_token_comes_from_either_file),
        cmocka_unit_test(lengths),
        cmocka_unit_test(added_tokens_are_cut_out),
        cmocka_unit_test(words_become_several_ids),
        cmocka_unit_test(added_tokens_we_cannot_do_are_refused),
        cmocka_unit_test(broken_vocabularies_are_refused),
        cmocka_unit_test(broken_merges_are_refused),
        cmocka_unit_test(merges_go_by_rank),
        cmocka_unit_test(text_is_cleaned_as_in_python),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
